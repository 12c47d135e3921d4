# bits: ('bits', 'crash: SIGSEGV')
steps = [
    "mx.random.permutation(n[2], key=mx.random.key(1))",
    "mx.logsumexp(n[2], axis=0)",
    "mx.triu(n[3])",
]
said = ways(
    [
        normal((257, 257), 8, "float32"),
        normal((257, 2), 73, "float32"),
        normal((257, 65), 79, "float32"),
    ],
    [normal((3, 3), 8, "float32"), normal((3, 2), 73, "float32"), normal((3, 257), 79, "float32")],
    steps,
    [4, 5],
)
