# bits: ISA v2
steps = [
    "mx.vmap(lambda t: mx.tensordot(t, t, 1))(n[0])",
]
said = ways(
    [
        normal((65, 17), 20, "float32"),
        normal((17, 257), 69, "float32"),
        normal((65,), 73, "float32"),
    ],
    [normal((65, 64), 20, "float32"), normal((64, 2), 69, "float32"), normal((65,), 73, "float32")],
    steps,
    [3],
)
