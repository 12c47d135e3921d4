# bits: shapeless
steps = [
    'n[1] * 2',
    'mx.full_like(n[4], True)',
]
said = ways([normal((), 90, 'float32'), normal((257, 2), 49, 'float32'), normal((2, 257), 64, 'float32'), normal((), 19, 'bfloat16')], [normal((), 90, 'float32'), normal((65, 17), 49, 'float32'), normal((17, 65), 64, 'float32'), normal((), 19, 'bfloat16')], steps, [5])
