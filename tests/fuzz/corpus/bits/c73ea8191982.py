# bits: 1 threads
steps = [
    "mx.cumprod(n[0], axis=1)",
    "n[3] @ n[0]",
]
said = ways(
    [
        normal((128, 128), 84, "float32"),
        normal((128, 4), 40, "float32"),
        normal((128, 4), 48, "float32"),
    ],
    [
        normal((255, 255), 84, "float32"),
        normal((255, 32), 40, "float32"),
        normal((255, 32), 48, "float32"),
    ],
    steps,
    [4],
)
