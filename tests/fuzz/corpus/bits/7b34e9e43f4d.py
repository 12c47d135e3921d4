# bits: 1 threads
steps = [
    "mx.fast.scaled_dot_product_attention(n[1][None, None], *[n[2][None, None]] * 2, scale=0.5)",
]
said = ways(
    [
        normal((600,), 63, "float32"),
        normal((600, 32), 61, "float32"),
        normal((600, 32), 51, "float32"),
    ],
    [
        normal((128,), 63, "float32"),
        normal((128, 7), 61, "float32"),
        normal((128, 7), 51, "float32"),
    ],
    steps,
    [3],
)
