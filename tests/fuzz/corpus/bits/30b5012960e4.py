# bits: shapeless
steps = [
    'mx.jvp(lambda t: mx.full_like(t, 0.0), [n[1]], [n[1]])[1][0]',
]
said = ways([normal((16, 4), 79, 'float32'), normal((16,), 65, 'float32')], [normal((3, 16), 79, 'float32'), normal((3,), 65, 'float32')], steps, [2])
