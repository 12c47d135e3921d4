# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.contiguous(t)).sum())(n[1])',
]
said = ways([normal((257, 257), 20, 'float32'), normal((16, 600), 55, 'float32'), normal((16,), 66, 'float16')], [normal((3, 3), 20, 'float32'), normal((128, 4), 55, 'float32'), normal((128,), 66, 'float16')], steps, [3])
