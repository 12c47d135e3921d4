# bits: 1 threads
steps = [
    "n[2].astype(mx.bool_)",
    "mx.cumprod(n[4], axis=0)",
    "mx.einsum('ij,jk->ik', n[5], n[2])",
]
said = ways(
    [
        normal((128, 600), 49, "float32"),
        normal((4,), 85, "float32"),
        normal((128, 128), 74, "float32"),
        normal((128,), 64, "float32"),
    ],
    [
        normal((255, 4), 49, "float32"),
        normal((17,), 85, "float32"),
        normal((255, 255), 74, "float32"),
        normal((255,), 64, "float32"),
    ],
    steps,
    [6],
)
