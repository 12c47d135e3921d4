# bits: ISA v2
steps = [
    "mx.fast.rope(n[2][None], 2, traditional=False, base=1e4, scale=1.0, offset=1)",
    "mx.inner(n[1], n[3])",
]
said = ways(
    [normal((2, 65), 20, "float32"), normal((65,), 12, "float16"), normal((2, 65), 27, "float32")],
    [normal((257, 4), 20, "float32"), normal((4,), 12, "float16"), normal((257, 4), 27, "float32")],
    steps,
    [4],
)
