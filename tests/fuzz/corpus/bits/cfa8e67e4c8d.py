# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.subtract(t, t)).sum())(n[3])',
]
said = ways([normal((), 90, 'float32'), normal((7,), 75, 'float32'), normal((7, 65), 71, 'float32'), normal((65, 32), 20, 'float32')], [normal((), 90, 'float32'), normal((7,), 75, 'float32'), normal((7, 3), 71, 'float32'), normal((3, 32), 20, 'float32')], steps, [4])
