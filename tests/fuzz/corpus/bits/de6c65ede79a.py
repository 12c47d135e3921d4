# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.fast.rope(t[None], 2, traditional=False, base=1e4, scale=1.0, offset=1)).sum())(n[0])',
]
said = ways([normal((64, 255), 55, 'float32'), normal((64, 255), 50, 'float32')], [normal((16, 255), 55, 'float32'), normal((16, 255), 50, 'float32')], steps, [2])
