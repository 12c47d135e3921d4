# bits: ISA v2
steps = [
    "mx.repeat(n[2], 2, axis=None)",
    "mx.erf(n[3])",
]
said = ways(
    [
        normal((128, 600), 84, "float32"),
        normal((2,), 89, "float32"),
        normal((2, 600), 65, "float32"),
    ],
    [
        normal((32, 600), 84, "float32"),
        normal((4,), 89, "float32"),
        normal((4, 600), 65, "float32"),
    ],
    steps,
    [4],
)
