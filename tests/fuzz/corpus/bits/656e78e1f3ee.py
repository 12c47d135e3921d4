# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.take(t, mx.array([1, 0, 1]), axis=1)).sum())(n[0])',
]
said = ways([normal((2, 128), 10, 'float16'), normal((2, 128), 50, 'float32'), normal((), 19, 'float32'), normal((128, 7), 90, 'float32')], [normal((16, 2), 10, 'float16'), normal((16, 2), 50, 'float32'), normal((), 19, 'float32'), normal((2, 255), 90, 'float32')], steps, [4])
