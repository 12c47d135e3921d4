# bits: ISA v2
steps = [
    "mx.square(n[2])",
    "mx.checkpoint(lambda t: mx.split(t, 2, axis=0)[1])(n[2])",
    "n[0] * n[3].shape[0]",
    "n[5] @ n[4][0]",
]
said = ways(
    [normal((64, 65), 11, "float32"), normal((), 24, "float32"), normal((64, 65), 18, "float32")],
    [normal((128, 32), 11, "float32"), normal((), 24, "float32"), normal((128, 32), 18, "float32")],
    steps,
    [6],
)
