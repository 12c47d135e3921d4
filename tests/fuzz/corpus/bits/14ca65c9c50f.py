# bits: shapeless
steps = [
    'mx.grad(lambda t: (t[mx.array([0, 1, 1])]).sum())(n[1])',
]
said = ways([normal((65,), 33, 'float32'), normal((4, 3), 50, 'float32')], [normal((64,), 33, 'float32'), normal((3, 600), 50, 'float32')], steps, [2])
