# bits: crash: SIGSEGV
steps = [
    "mx.grad(lambda t: (mx.softmax(t, axis=0)).sum())(n[2])",
    "mx.squeeze(n[4])",
]
said = ways(
    [
        normal((16, 32), 3, "float32"),
        normal((16, 16), 50, "float32"),
        normal((16, 4), 35, "float32"),
        normal((32, 4), 96, "float16"),
    ],
    [
        normal((16, 32), 3, "float32"),
        normal((16, 16), 50, "float32"),
        normal((16, 257), 35, "float32"),
        normal((32, 257), 96, "float16"),
    ],
    steps,
    [5],
)
