# bits: crash: SIGSEGV
steps = [
    "mx.grad(lambda t: (mx.fast.layer_norm(t, None, None, 1e-5)).sum())(n[0])",
    "mx.square(n[2])",
]
said = ways(
    [normal((16, 16), 88, "float32"), normal((32, 7), 83, "float32")],
    [normal((64, 64), 88, "float32"), normal((255, 16), 83, "float32")],
    steps,
    [3],
)
