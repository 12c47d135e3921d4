"""The steps of which the bit fuzzer makes programs: X, Y and Z are results before it, AXIS and
NUMBER are drawn, T is a step inside of a transform."""

UNARY = """sin cos tanh exp log1p sqrt abs negative square sigmoid erf floor reciprocal arctan rsqrt
    sign degrees isnan ones_like zeros_like tril triu diag trace nan_to_num softmax""".split()
BINARY = """add subtract multiply divide maximum minimum power arctan2 logaddexp floor_divide
    remainder less equal logical_and""".split()
REDUCTION = "sum mean prod max min var std all any argmax argmin logsumexp median softmax".split()
SCAN = "cumsum cumprod cummax cummin logcumsumexp".split()
UPDATE = "add multiply maximum minimum subtract".split()
DTYPE = "float16 bfloat16 float32 int32 float64 uint32 int8 bool_ complex64".split()
WORDS = {name: value for name, value in globals().items() if name.isupper()}

# How often, and steps of a kind; a word in capitals stands for each name of its list.
TABLE = """
5  mx.UNARY(X)
6  mx.BINARY(X, Y)
5  mx.REDUCTION(X, axis=AXIS) ; mx.SCAN(X, axis=AXIS)
4  mx.clip(X, -1, 1) ; mx.diff(X) ; mx.full_like(X, NUMBER) ; X * NUMBER ; NUMBER - X ; X ** NUMBER
6  X.astype(mx.DTYPE)
20 X @ Y ; X @ Y.T ; X.T @ Y ; mx.addmm(Z, X, Y) ; X @ Y[0] ; mx.inner(X, Y)
8  mx.einsum('ij,jk->ik', X, Y) ; mx.tensordot(X, Y, 1) ; mx.outer(X[:3], Y[:40])
6  mx.sort(X, axis=AXIS) ; mx.argsort(X, axis=AXIS) ; mx.flip(X, axis=AXIS)
6  mx.partition(X, 2, axis=AXIS) ; mx.topk(X, 2, axis=AXIS)
6  mx.searchsorted(mx.sort(X.flatten()), Y)
8  mx.take_along_axis(X, mx.argsort(X, axis=AXIS), axis=AXIS)
4  X[0] ; X[1:] ; X[::2] ; X[..., ::-1] ; X[None] ; X[..., None] ; X[..., 0] ; X[:, 1] ; X[..., :-1]
5  X[mx.array([0, 1, 1])] ; mx.take(X, mx.array([1, 0, 1]), axis=AXIS)
5  X.at[mx.array([0, 1, 1])].UPDATE(NUMBER)
4  updated(X, 0, NUMBER) ; updated(X, slice(1, None), NUMBER) ; updated(X, ..., NUMBER)
4  updated(X, (..., 0), Y) ; updated(X, X > 0, NUMBER) ; updated(X, X > 0, Y) ; updated(X, ..., Y)
4  X.flatten() ; X.T ; X.swapaxes(0, -1) ; mx.squeeze(X) ; mx.contiguous(X) ; mx.stop_gradient(X)
5  mx.concatenate([X, Y], axis=AXIS) ; mx.stack([X, Y]) ; mx.split(X, 2, axis=AXIS)[1]
5  mx.where(X > 0, X, Y) ; mx.pad(X, 1) ; mx.pad(X, 2, mode='edge') ; mx.roll(X, 1, axis=AXIS)
5  mx.repeat(X, 2, axis=AXIS) ; mx.tile(X, 2) ; mx.expand_dims(X, axis=AXIS)
8  mx.convolve(X.flatten(), Y.flatten()[:5]) ; mx.conv1d(X[None], Y[:, None, :])
8  mx.conv2d(X[None, ..., None], Y[None, :3, :3, None])
5  mx.fast.layer_norm(X, None, None, 1e-5) ; mx.fast.rms_norm(X, None, 1e-5)
5  mx.fast.rope(X[None], 2, traditional=False, base=1e4, scale=1.0, offset=1)
8  mx.fast.scaled_dot_product_attention(X[None, None], *[Y[None, None]] * 2, scale=0.5)
5  mx.dequantize(*mx.quantize(X, 32, 4), 32, 4)
5  mx.quantized_matmul(X, *mx.quantize(Y, 32, 4), True, 32, 4)
5  mx.dequantize(*mx.quantize(X, mode="mxfp8"), mode="mxfp8", dtype=mx.float32) ; mx.qqmm(X, Y)
3  mx.random.normal((3, 5), key=mx.random.key(3)) ; mx.random.permutation(X, key=mx.random.key(1))
2  X.sum() / X.size ; X * X.shape[0] ; mx.linalg.norm(X) ; mx.count_nonzero(X, axis=AXIS)
10 mx.grad(lambda t: (T).sum())(X) ; mx.vmap(lambda t: T)(X) ; mx.jvp(lambda t: T, [X], [X])[1][0]
10 mx.checkpoint(lambda t: T)(X)
"""


def expanded(text):
    """A step for each name that the word in it stands for."""
    for word, names in WORDS.items():
        if f".{word}(" in text or f".{word})" in text:
            return [text.replace(word, name) for name in names]
    return [text]


STEPS = [
    (int(line.split()[0]), step)
    for line in TABLE.strip().splitlines()
    for text in line.split(None, 1)[1].split(" ; ")
    for step in expanded(text)
]
