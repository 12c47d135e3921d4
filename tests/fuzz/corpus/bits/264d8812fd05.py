# bits: shapeless
steps = [
    'mx.sigmoid(n[0])',
    'mx.grad(lambda t: (t.astype(mx.float32)).sum())(n[2])',
]
said = ways([normal((600, 128), 10, 'float32'), normal((600, 128), 71, 'float32')], [normal((64, 16), 10, 'float32'), normal((64, 16), 71, 'float32')], steps, [3])
