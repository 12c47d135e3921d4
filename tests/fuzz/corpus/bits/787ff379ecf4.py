# bits: shapeless
steps = [
    'mx.floor(n[0])',
    'mx.grad(lambda t: (t.astype(mx.complex64)).sum())(n[2])',
]
said = ways([normal((128, 255), 11, 'float32'), normal((255,), 52, 'float32')], [normal((17, 257), 11, 'float32'), normal((257,), 52, 'float32')], steps, [3])
