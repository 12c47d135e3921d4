# bits: ISA v2
steps = [
    "mx.checkpoint(lambda t: t.astype(mx.int8))(n[1])",
    "mx.vmap(lambda t: mx.sin(t))(n[4])",
]
said = ways(
    [
        normal((2, 600), 14, "float32"),
        normal((3, 3), 26, "float32"),
        normal((), 78, "float32"),
        normal((3, 600), 8, "float32"),
    ],
    [
        normal((600, 257), 14, "float32"),
        normal((65, 65), 26, "float32"),
        normal((), 78, "float32"),
        normal((65, 257), 8, "float32"),
    ],
    steps,
    [5],
)
