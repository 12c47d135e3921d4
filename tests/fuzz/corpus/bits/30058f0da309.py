# bits: shapeless
steps = [
    'updated(n[3], ..., True)',
]
said = ways([normal((), 29, 'float32'), normal((17,), 47, 'float32'), normal((17, 65), 22, 'float32'), normal((4, 65), 9, 'float32')], [normal((), 29, 'float32'), normal((255,), 47, 'float32'), normal((255, 17), 22, 'float32'), normal((65, 17), 9, 'float32')], steps, [4])
