# bits: shapeless
steps = [
    'mx.grad(lambda t: (t * True).sum())(n[1])',
]
said = ways([normal((4, 4), 86, 'float32'), normal((255, 7), 13, 'float32'), normal((4, 7), 91, 'float32')], [normal((17, 17), 86, 'float32'), normal((32, 255), 13, 'float32'), normal((17, 255), 91, 'float32')], steps, [3])
