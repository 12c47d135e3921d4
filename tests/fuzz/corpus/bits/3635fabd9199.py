# bits: 1 threads
steps = [
    "mx.inner(n[1], n[1])",
]
said = ways(
    [normal((255, 64), 69, "float32"), normal((255, 64), 5, "float32")],
    [normal((65, 64), 69, "float32"), normal((65, 64), 5, "float32")],
    steps,
    [2],
)
