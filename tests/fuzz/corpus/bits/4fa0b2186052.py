# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.zeros_like(t)).sum())(n[0])',
]
said = ways([normal((7, 17), 27, 'float32'), normal((4, 4), 14, 'float32')], [normal((257, 65), 27, 'float32'), normal((17, 17), 14, 'float32')], steps, [2])
