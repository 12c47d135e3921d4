# bits: shapeless
steps = [
    'n[0].sum() / n[2].size',
]
said = ways([normal((128, 7), 57, 'float32'), normal((128, 128), 8, 'float32'), normal((128, 128), 4, 'float32'), normal((128, 128), 16, 'float32')], [normal((7, 128), 57, 'float32'), normal((7, 7), 8, 'float32'), normal((7, 7), 4, 'float32'), normal((7, 7), 16, 'float32')], steps, [4])
