# bits: crash: SIGSEGV
steps = [
    "mx.triu(n[0])",
    "mx.checkpoint(lambda t: mx.maximum(t, t))(n[2])",
]
said = ways(
    [normal((64, 3), 33, "complex64"), normal((3, 64), 47, "float32")],
    [normal((3, 2), 33, "complex64"), normal((2, 3), 47, "float32")],
    steps,
    [3],
)
