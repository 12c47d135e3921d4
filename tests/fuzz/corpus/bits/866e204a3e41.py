# bits: shapeless
steps = [
    'mx.cumprod(n[0], axis=0)',
    'mx.grad(lambda t: (mx.tril(t)).sum())(n[3])',
]
said = ways([normal((7, 128), 95, 'float32'), normal((128,), 50, 'float32'), normal((), 81, 'float32')], [normal((128, 257), 95, 'float32'), normal((257,), 50, 'float32'), normal((), 81, 'float32')], steps, [4])
