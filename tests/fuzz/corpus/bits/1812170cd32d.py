# bits: crash: SIGSEGV
steps = [
    "mx.triu(n[3])",
    "mx.conv2d(n[4][None, ..., None], n[4][None, :3, :3, None])",
]
said = ways(
    [
        normal((255, 128), 56, "float32"),
        normal((128, 16), 2, "float32"),
        normal((255,), 57, "float32"),
        normal((255, 128), 69, "float32"),
    ],
    [
        normal((65, 16), 56, "float32"),
        normal((16, 7), 2, "float32"),
        normal((65,), 57, "float32"),
        normal((65, 16), 69, "float32"),
    ],
    steps,
    [5],
)
