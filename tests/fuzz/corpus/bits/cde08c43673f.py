# bits: shapeless
steps = [
    'mx.grad(lambda t: (updated(t, ..., t)).sum())(n[2])',
]
said = ways([normal((32, 128), 38, 'float32'), normal((), 38, 'float32'), normal((2, 32), 92, 'float32')], [normal((16, 64), 38, 'float32'), normal((), 38, 'float32'), normal((7, 16), 92, 'float32')], steps, [3])
