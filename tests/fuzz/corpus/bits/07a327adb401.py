# bits: ISA v2
steps = [
    "mx.arctan2(n[3], n[2])",
]
said = ways(
    [
        normal((2, 257), 30, "float32"),
        normal((2, 257), 29, "float32"),
        normal((257, 255), 11, "float32"),
        normal((), 11, "float32"),
    ],
    [
        normal((600, 2), 30, "float32"),
        normal((600, 2), 29, "float32"),
        normal((2, 17), 11, "float32"),
        normal((), 11, "float32"),
    ],
    steps,
    [4],
)
