# bits: ISA v2
steps = [
    "n[3].astype(mx.uint32)",
]
said = ways(
    [
        normal((16, 128), 10, "float32"),
        normal((17, 17), 38, "float32"),
        normal((17,), 52, "float32"),
        normal((16, 128), 90, "float16"),
    ],
    [
        normal((32, 65), 10, "float32"),
        normal((128, 128), 38, "float32"),
        normal((128,), 52, "float32"),
        normal((32, 65), 90, "float16"),
    ],
    steps,
    [4],
)
