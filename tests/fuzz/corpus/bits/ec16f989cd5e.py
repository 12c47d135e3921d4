# bits: shapeless
steps = [
    'mx.triu(n[0])',
    'mx.arctan2(n[3], n[3])',
    'mx.partition(n[4], 2, axis=0)',
    'mx.nan_to_num(n[5])',
    'mx.grad(lambda t: (t.astype(mx.bfloat16)).sum())(n[6])',
]
said = ways([normal((128, 17), 42, 'float16'), normal((257, 128), 69, 'float32'), normal((17,), 29, 'float32')], [normal((4, 600), 42, 'float16'), normal((255, 4), 69, 'float32'), normal((600,), 29, 'float32')], steps, [7])
