# bits: shapeless
steps = [
    'mx.jvp(lambda t: t.astype(mx.bool_), [n[0]], [n[0]])[1][0]',
]
said = ways([normal((257, 257), 63, 'float32'), normal((), 20, 'float32'), normal((257,), 76, 'float32')], [normal((128, 128), 63, 'float32'), normal((), 20, 'float32'), normal((128,), 76, 'float32')], steps, [3])
