# bits: crash: SIGSEGV
steps = [
    "mx.triu(n[0])",
    "mx.sort(n[2], axis=1)",
]
said = ways(
    [normal((64, 600), 81, "float32"), normal((128, 600), 34, "float32")],
    [normal((255, 16), 81, "float32"), normal((65, 16), 34, "float32")],
    steps,
    [3],
)
