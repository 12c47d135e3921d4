# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.isnan(t)).sum())(n[0])',
]
said = ways([normal((32,), 62, 'float32'), normal((32, 65), 85, 'float32')], [normal((3,), 62, 'float32'), normal((3, 65), 85, 'float32')], steps, [2])
