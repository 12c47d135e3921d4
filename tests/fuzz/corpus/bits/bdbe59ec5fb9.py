# bits: shapeless
steps = [
    "mx.pad(n[1], 2, mode='edge')",
]
said = ways([normal((255, 2), 99, 'float32'), normal((255, 2), 82, 'float32')], [normal((4, 2), 99, 'float32'), normal((4, 2), 82, 'float32')], steps, [2])
