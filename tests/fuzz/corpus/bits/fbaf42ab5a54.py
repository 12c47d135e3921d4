# bits: ISA v2
steps = [
    "mx.random.normal((3, 5), key=mx.random.key(3))",
]
said = ways(
    [normal((64,), 62, "float32"), normal((64,), 67, "float32"), normal((64, 64), 92, "float32")],
    [
        normal((600,), 62, "float32"),
        normal((600,), 67, "float32"),
        normal((600, 600), 92, "float32"),
    ],
    steps,
    [3],
)
