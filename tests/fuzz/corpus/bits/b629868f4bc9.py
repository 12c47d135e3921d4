# bits: shapeless
steps = [
    'mx.grad(lambda t: (t[..., None]).sum())(n[2])',
]
said = ways([normal((3, 7), 39, 'float32'), normal((64, 7), 63, 'float32'), normal((3, 7), 12, 'float32')], [normal((2, 32), 39, 'float32'), normal((4, 32), 63, 'float32'), normal((2, 32), 12, 'float32')], steps, [3])
