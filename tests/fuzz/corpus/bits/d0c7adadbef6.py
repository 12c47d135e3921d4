# bits: shapeless
steps = [
    'mx.full_like(n[0], 3)',
]
said = ways([normal((128,), 81, 'float32'), normal((), 98, 'float32'), normal((128, 7), 69, 'float32'), normal((128, 7), 24, 'float32')], [normal((2,), 81, 'float32'), normal((), 98, 'float32'), normal((2, 600), 69, 'float32'), normal((2, 600), 24, 'float32')], steps, [4])
