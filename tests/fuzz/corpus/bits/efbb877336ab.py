# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.argmin(t, axis=None)).sum())(n[1])',
]
said = ways([normal((7,), 10, 'complex64'), normal((32, 16), 28, 'float32'), normal((7, 32), 68, 'float32'), normal((7,), 41, 'float32')], [normal((17,), 10, 'complex64'), normal((65, 4), 28, 'float32'), normal((17, 65), 68, 'float32'), normal((17,), 41, 'float32')], steps, [4])
