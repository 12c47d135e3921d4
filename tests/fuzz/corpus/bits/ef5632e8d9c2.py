# bits: shapeless
steps = [
    'mx.grad(lambda t: (t[0]).sum())(n[0])',
]
said = ways([normal((4, 16), 95, 'float32'), normal((4, 16), 38, 'float32')], [normal((65, 7), 95, 'float32'), normal((65, 7), 38, 'float32')], steps, [2])
