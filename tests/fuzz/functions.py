"""Exports functions, spoils the bytes, loads what is left and calls it: an error, or values."""

# What is exported: a function of x (3, 4) float32 and i (2,) int32, each with other primitives.
FUNCTIONS = (
    "mx.exp(x) + x.T.reshape(3, 4)",
    "x[::-1, 1:3] * x[0, 0] + x[i][:, ::2][:1]",
    "mx.softmax(x @ x.T, axis=-1) @ x",
    "mx.concatenate([x, x.flatten()[:4][None]], axis=0).sum(axis=1)",
    "x.at[i].add(x[:2]) + mx.put_along_axis(x, mx.argsort(x), x, axis=1)",
    "mx.sort(x, axis=0) + mx.cumsum(x, axis=1, reverse=True) + mx.argmax(x)",
    "mx.partition(x, 1, axis=1)[:, :2], mx.argpartition(x, 2)",
    "mx.as_strided(x, (2, 3), (4, 1), 1), x.view(mx.uint8), mx.contiguous(x.T)",
    "mx.random.normal((2, 3), key=mx.view(i, mx.uint32))",
    "mx.addmm(x[:, :3], x, x.T, 2.0, 0.5)",
    "mx.quantized_matmul(mx.tile(x, (1, 16)), *mx.quantize(mx.ones((8, 64)), 32, 4), True, 32, 4)",
    "mx.dequantize(*mx.quantize(mx.tile(x, (1, 16)), mode='nvfp4'), mode='nvfp4')",
    "mx.qqmm(mx.tile(x, (1, 16)), mx.ones((8, 64)), mode='mxfp8')",
    "mx.gather_mm(x[None], mx.ones((2, 4, 3)), rhs_indices=i - i)",
    "mx.gather_qmm(mx.tile(x, (1, 16)), *[a[None] for a in mx.quantize(mx.ones((8, 64)))], "
    "rhs_indices=i - i)",
    "mx.block_masked_mm(mx.tile(x, (11, 8)), mx.ones((32, 8)), 32, x[:2, :1] > 0)",
    "mx.segmented_mm(x, x.T, mx.abs(i)[None] - mx.abs(i)[None])",
    "mx.grad(lambda t: (mx.segmented_mm(t, t.T, mx.abs(i)[None]) ** 2).sum())(x)",
    "mx.grad(lambda t: (mx.gather_mm(t[None], mx.ones((2, 4, 3)), rhs_indices=i - i) ** 2)"
    ".sum())(x)",
    "mx.fast.scaled_dot_product_attention(*[x[None, None]] * 3, scale=0.5, mask='causal')",
    "mx.grad(lambda t: mx.fast.scaled_dot_product_attention(*[t[None, None]] * 3, scale=0.5, "
    "mask=x[:, :3], sinks=t[0, :1]).sum())(x)",
    "mx.conv1d(x[None], mx.ones((2, 2, 4)), padding=1)",
    "mx.grad(lambda t: (mx.conv1d(t[None], t[None, :2]) ** 2).sum())(x)",
    "mx.grad(lambda t: (mx.conv2d(t[None, ..., None], t[None, :2, :2, None]) ** 2).sum())(x)",
    "mx.grad(lambda t: nn.MaxPool2d(2)(t[None, ..., None]).sum())(x)",
    "mx.fast.rope(x[None], 4, traditional=False, base=100.0, scale=1.0, offset=i[0])",
    "mx.searchsorted(mx.sort(x[0]), x), mx.take_along_axis(x, mx.argsort(x), axis=1)",
    "mx.linalg.qr(x, stream=mx.cpu)[1], *mx.linalg.svd(x, stream=mx.cpu)",
    "mx.linalg.eigh(x @ x.T, stream=mx.cpu)[0], mx.linalg.cholesky(x @ x.T + 9 * mx.eye(3), "
    "stream=mx.cpu)",
    "mx.linalg.solve(x @ x.T + mx.eye(3), x, stream=mx.cpu)",
    "mx.linalg.lu_factor(x @ x.T, stream=mx.cpu)[1], mx.linalg.pinv(x, stream=mx.cpu)",
    "mx.fft.irfft(mx.fft.fft(mx.fft.rfft(x), axis=0), 7), mx.fft.ifft(x)",
    "mx.custom_function(lambda t: mx.sin(t) * 2)(x)",
    "mx.checkpoint(lambda t: mx.tanh(t) @ t.T)(x)",
    "x.mean(axis=1) + mx.zeros_like(x).sum() + x.var()",
)
# Fields of eight bytes, and bytes, that are wild.
NUMBERS = (0, 1, 2, 3, 4, 7, 1 << 15, 1 << 31, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -2)
PROGRAM = """
import random, struct
source = random.Random({seed})
x, i = mx.arange(12.0).reshape(3, 4) - 5.5, mx.array([1, 2])
path = tempfile.mkdtemp() + "/f"
def f(x, i):
    return {function}
mx.export_function(path, f, x, i, shapeless={shapeless})
whole = pathlib.Path(path).read_bytes()
good = mx.import_function(path)
for _ in range({rounds}):
    spoilt = bytearray(whole)
    for _ in range(source.choice((1, 1, 1, 2, 4))):
        at = source.randrange(8, max(9, min(len(spoilt), 4000)))
        kind = source.randrange(6)
        if kind == 0:
            spoilt[at : at + 1] = bytes(b ^ 1 << source.randrange(8) for b in spoilt[at : at + 1])
        elif kind == 1:
            spoilt[at : at + 1] = bytes([source.choice((0, 1, 2, 3, 4, 5, 11, 12, 13, 255))])
        elif kind == 2:
            number = source.choice({numbers}) & (1 << 64) - 1
            size = source.choice((4, 8))
            spoilt[at : at + size] = struct.pack("<Q", number)[:size]
        elif kind == 3:
            size, to = source.choice((1, 4, 8, 30)), source.randrange(8, len(whole))
            spoilt[to : to + size] = spoilt[at : at + size]
        elif kind == 4:
            del spoilt[at : at + source.choice((1, 4, 8))]
        else:
            spoilt = spoilt[:at]
    pathlib.Path(path).write_bytes(spoilt)
    try:
        g = mx.import_function(path)
        for arguments in ((x, i), (mx.ones((5, 6)), i), (mx.ones((1, 4)), mx.array([0]))):
            try:
                for out in g(*arguments):
                    if out.nbytes < 1 << 22:
                        mx.eval(out)
            except (ValueError, IndexError, OSError, MemoryError):
                pass
    except (ValueError, OSError, MemoryError):
        pass
mx.eval(good(x, i))
"""


def fuzz(session):
    """One function after another, each with many spoilt files."""
    random = session.random
    while session.running():
        code = PROGRAM.format(
            seed=random.randrange(1 << 30),
            function=random.choice(FUNCTIONS),
            shapeless=random.random() < 0.4,
            rounds=100,
            numbers=NUMBERS,
        )
        answer = session.run(code, 60, 4 << 30)
        if answer["end"] in ("crash", "hang", "memory"):
            session.found("functions", f"{answer['end']} {answer.get('text', '')[:80]}", code)
        elif answer["end"] == "raised":
            what = f"{answer['type']}: {answer['text']}"
            session.found("functions", f"raised {what[:80]}", code, what)
