# bits: ISA v2
steps = [
    "mx.logsumexp(n[1], axis=-1)",
]
said = ways(
    [
        normal((257, 255), 78, "float32"),
        normal((257, 257), 97, "float32"),
        normal((257,), 77, "float32"),
        normal((16, 255), 50, "float32"),
    ],
    [
        normal((2, 257), 78, "float32"),
        normal((2, 2), 97, "float32"),
        normal((2,), 77, "float32"),
        normal((65, 257), 50, "float32"),
    ],
    steps,
    [4],
)
