# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.logical_and(t, t)).sum())(n[0])',
]
said = ways([normal((32, 4), 31, 'float32'), normal((4, 64), 1, 'float32')], [normal((2, 64), 31, 'float32'), normal((64, 16), 1, 'float32')], steps, [2])
