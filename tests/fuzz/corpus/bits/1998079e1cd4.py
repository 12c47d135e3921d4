# bits: shapeless
steps = [
    'n[0].at[mx.array([0, 1, 1])].maximum(2)',
    'mx.convolve(n[2].flatten(), n[0].flatten()[:5])',
]
said = ways([normal((16,), 7, 'float32'), normal((3, 3), 65, 'complex64')], [normal((4,), 7, 'float32'), normal((255, 255), 65, 'complex64')], steps, [3])
