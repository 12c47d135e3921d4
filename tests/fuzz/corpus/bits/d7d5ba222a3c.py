# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.equal(t, t)).sum())(n[1])',
]
said = ways([normal((64,), 24, 'float32'), normal((255, 128), 20, 'float32'), normal((255,), 56, 'float32')], [normal((65,), 24, 'float32'), normal((4, 7), 20, 'float32'), normal((4,), 56, 'float32')], steps, [3])
