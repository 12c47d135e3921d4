# bits: crash: SIGSEGV
steps = [
    "mx.sin(n[1])",
    "mx.triu(n[2])",
]
said = ways(
    [normal((65,), 26, "float32"), normal((65, 16), 15, "float16")],
    [normal((64,), 26, "float32"), normal((64, 4), 15, "float16")],
    steps,
    [3],
)
