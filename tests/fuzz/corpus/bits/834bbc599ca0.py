# bits: shapeless
steps = [
    'mx.arctan(n[0])',
    'mx.stop_gradient(n[3])',
    "mx.vmap(lambda t: mx.pad(t, 2, mode='edge'))(n[4])",
]
said = ways([normal((65, 17), 57, 'float32'), normal((600, 65), 84, 'float32'), normal((65, 17), 88, 'float32')], [normal((257, 7), 57, 'float32'), normal((16, 257), 84, 'float32'), normal((257, 7), 88, 'float32')], steps, [5])
