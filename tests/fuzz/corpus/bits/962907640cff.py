# bits: crash: SIGSEGV
steps = [
    "mx.grad(lambda t: (mx.rsqrt(t)).sum())(n[1])",
]
said = ways(
    [
        normal((128, 600), 28, "float32"),
        normal((600, 4), 89, "bfloat16"),
        normal((128, 128), 7, "float32"),
    ],
    [
        normal((255, 65), 28, "float32"),
        normal((65, 64), 89, "bfloat16"),
        normal((255, 255), 7, "float32"),
    ],
    steps,
    [3],
)
