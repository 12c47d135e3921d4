# bits: crash: SIGSEGV
steps = [
    "updated(n[1], (..., 0), 0.0)",
    "mx.tanh(n[4])",
    "n[5].astype(mx.complex64)",
    "mx.grad(lambda t: (mx.outer(t[:3], t[:40])).sum())(n[6])",
]
said = ways(
    [
        normal((65, 257), 83, "float32"),
        normal((65, 65), 38, "float32"),
        normal((65, 65), 56, "float32"),
        normal((65,), 84, "float32"),
    ],
    [
        normal((16, 600), 83, "float32"),
        normal((16, 16), 38, "float32"),
        normal((16, 16), 56, "float32"),
        normal((16,), 84, "float32"),
    ],
    steps,
    [7],
)
