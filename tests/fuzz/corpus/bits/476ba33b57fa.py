# bits: shapeless
steps = [
    "mx.searchsorted(mx.sort(n[1].flatten()), n[0])",
]
said = ways(
    [normal((), 65, "float32"), normal((600,), 67, "float32")],
    [normal((), 65, "float32"), normal((4,), 67, "float32")],
    steps,
    [2],
)
