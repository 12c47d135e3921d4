# bits: ISA v2
steps = [
    "mx.cos(n[0])",
]
said = ways(
    [
        normal((7, 32), 30, "float32"),
        normal((16, 16), 86, "int32"),
        normal((7, 32), 88, "float32"),
        normal((7, 32), 71, "float32"),
    ],
    [
        normal((3, 255), 30, "float32"),
        normal((65, 65), 86, "int32"),
        normal((3, 255), 88, "float32"),
        normal((3, 255), 71, "float32"),
    ],
    steps,
    [4],
)
