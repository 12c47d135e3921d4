# bits: ISA v2
steps = [
    "n[1][0]",
    "n[4][..., ::-1]",
    "mx.sin(n[5])",
]
said = ways(
    [
        normal((7,), 69, "bfloat16"),
        normal((7, 128), 16, "float32"),
        normal((128,), 4, "uint8"),
        normal((), 62, "float32"),
    ],
    [
        normal((32,), 69, "bfloat16"),
        normal((32, 16), 16, "float32"),
        normal((16,), 4, "uint8"),
        normal((), 62, "float32"),
    ],
    steps,
    [6],
)
