# bits: shapeless
steps = [
    'mx.grad(lambda t: (t.at[mx.array([0, 1, 1])].add(2)).sum())(n[0])',
]
said = ways([normal((600, 17), 65, 'float32'), normal((), 52, 'float32')], [normal((64, 3), 65, 'float32'), normal((), 52, 'float32')], steps, [2])
