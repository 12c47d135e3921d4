# bits: ISA v2
steps = [
    'mx.fast.rope(n[2][None], 2, traditional=False, base=1e4, scale=1.0, offset=1)',
]
said = ways([normal((255, 32), 87, 'float64'), normal((255, 600), 58, 'float32'), normal((255, 255), 78, 'float32'), normal((255, 255), 88, 'float32')], [normal((16, 2), 87, 'float64'), normal((16, 3), 58, 'float32'), normal((16, 16), 78, 'float32'), normal((16, 16), 88, 'float32')], steps, [4])
