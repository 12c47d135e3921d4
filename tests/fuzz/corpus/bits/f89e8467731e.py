# bits: shapeless
steps = [
    'mx.fast.rope(n[3][None], 2, traditional=False, base=1e4, scale=1.0, offset=1)',
]
said = ways([normal((17,), 19, 'float32'), normal((7,), 99, 'float32'), normal((7, 600), 80, 'float32'), normal((600, 17), 24, 'float32')], [normal((7,), 19, 'float32'), normal((128,), 99, 'float32'), normal((128, 255), 80, 'float32'), normal((255, 7), 24, 'float32')], steps, [4])
