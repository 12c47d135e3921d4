# bits: shapeless
steps = [
    'mx.grad(lambda t: (mx.searchsorted(mx.sort(t.flatten()), t)).sum())(n[0])',
]
said = ways([normal((257,), 20, 'float32'), normal((), 81, 'float32'), normal((), 86, 'float32')], [normal((7,), 20, 'float32'), normal((), 81, 'float32'), normal((), 86, 'float32')], steps, [3])
