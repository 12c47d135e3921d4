# bits: ISA v2
steps = [
    "mx.vmap(lambda t: t @ t)(n[3])",
]
said = ways(
    [
        normal((4, 4), 3, "float32"),
        normal((), 48, "float32"),
        normal((600, 64), 29, "float32"),
        normal((4, 64), 77, "float32"),
    ],
    [
        normal((64, 64), 3, "float32"),
        normal((), 48, "float32"),
        normal((16, 3), 29, "float32"),
        normal((64, 3), 77, "float32"),
    ],
    steps,
    [4],
)
