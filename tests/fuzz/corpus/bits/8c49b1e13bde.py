# bits: shapeless
steps = [
    'mx.grad(lambda t: (t.reshape(-1)).sum())(n[2])',
]
said = ways([normal((257, 65), 78, 'float32'), normal((65, 64), 8, 'float32'), normal((65, 64), 64, 'float32')], [normal((255, 17), 78, 'float32'), normal((17, 4), 8, 'float32'), normal((17, 4), 64, 'float32')], steps, [3])
