# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.random.normal((3, 5), key=mx.random.key(3))).sum())(n[0])',
]
said = ways([normal((255, 3), 17, 'float32'), normal((3,), 53, 'float32')], [normal((255, 600), 17, 'float32'), normal((600,), 53, 'float32')], steps, [2])
