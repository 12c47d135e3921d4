# bits: shapeless
steps = [
    'n[1].astype(mx.int32)',
    'n[3][:, 1]',
    'mx.searchsorted(mx.sort(n[5].flatten()), n[4])',
    'n[2] * n[6].shape[0]',
]
said = ways([normal((32, 2), 55, 'float32'), normal((32, 255), 0, 'float32'), normal((32, 255), 31, 'float32'), normal((32, 255), 46, 'float32')], [normal((16, 255), 55, 'float32'), normal((16, 600), 0, 'float32'), normal((16, 600), 31, 'float32'), normal((16, 600), 46, 'float32')], steps, [7])
