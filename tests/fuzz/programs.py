"""Programs in which faults are injected: what is there before, what is done, and what must hold
whatever became of it. `path` is a name in a folder of its own."""

A = "a = mx.random.normal((200, 300), key=mx.random.key(1)); mx.eval(a)"
FILE = "import pathlib; old, new = mx.arange(5000.0), mx.arange(5000.0) + 1; mx.eval(old, new)"
SAVED = (
    "all(digest(part) in (digest(old), digest(new)) for part in "
    "((lambda x: x.values() if isinstance(x, dict) else [x])(mx.load(path))))"
)
LAYERS = (
    "model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5)); "
    "x = mx.ones((8, 20)); mx.eval(model, x)"
)


def saving(save, suffix):
    """A program that writes a file in place of an older one."""
    path = f"path = tempfile.mkdtemp() + '/file{suffix}'"
    setup = f"{FILE}; {path}; {save.replace('VALUE', 'old')}"
    return setup, f"{save.replace('VALUE', 'new')}\nresult = 1", SAVED


def loading(save, suffix):
    """A program that reads a file."""
    setup = f"{FILE}; path = tempfile.mkdtemp() + '/file{suffix}'; {save.replace('VALUE', 'old')}"
    return setup, "result = mx.load(path); mx.eval(result)", "True"


PROGRAMS = {
    "elementwise": (A, "result = mx.tanh(a * 2 + 1)", "True"),
    "lazy, asked twice": (f"{A}; b = mx.exp(a).sum(axis=0) + a", "mx.eval(b); result = b", "True"),
    "sum of all": (f"{A}; a = mx.broadcast_to(a, (20, 200, 300))", "result = (a * 2).sum()",
    "True"),
    "sum of rows": (A, "result = [a.sum(axis=0), a.sum(axis=1), mx.logsumexp(a, axis=-1)]", "True"),
    "var": (A, "result = [a.var(), a.std(axis=0)]", "True"),
    "matmul": (A, "result = a @ a.T", "True"),
    "large matmul": ("a = mx.ones((600, 600)); mx.eval(a)", "result = a @ a", "True"),
    "matmul of halves": (f"{A}; a = a.astype(mx.bfloat16)", "result = a @ a.T", "True"),
    "sort": (A, "result = [mx.sort(a, axis=-1), mx.argsort(a, axis=0)]", "True"),
    "topk": (A, "result = mx.sort(mx.topk(a, 5, axis=-1))", "True"),
    "scan": (A, "result = [mx.cumsum(a, axis=0), mx.cummax(a, axis=1)]", "True"),
    "gather": (A, "result = [a[mx.array([1, 2, 3])], mx.take(a, mx.array([5, 0]), axis=1)]",
    "True"),
    "scatter": (A, "result = a.at[mx.array([1, 1, 2])].add(1.0)", "True"),
    "update": (A, "b = a + 0; b[3:50, ::2] = 1; b[0] += a[1]; result = b", "True"),
    "concatenate": (A,
    "result = [mx.concatenate([a, a], axis=1), mx.stack([a, a]), mx.pad(a, 3)]", "True"),
    "convolution": (f"{A}; w = mx.ones((4, 3, 3, 1))",
    "result = mx.conv2d(a[None, ..., None], w)", "True"),
    "attention": ("q = mx.ones((1, 2, 40, 16))",
    "result = mx.fast.scaled_dot_product_attention(q, q, q, scale=0.3, mask='causal')", "True"),
    "quantized": (f"{A}; a = a[:, :256]", "result = mx.quantized_matmul(a, *mx.quantize(a))",
    "True"),
    "linear algebra": ("a = mx.eye(12) * 3 + mx.ones((12, 12))",
    "result = [mx.linalg.inv(a), *mx.linalg.qr(a), mx.linalg.eigvalsh(a)]", "True"),
    "random": ("",
    "mx.random.seed(3); result = [mx.random.normal((50, 60)), mx.random.randint(0, 9, (40,))]",
    "True"),
    "grad": (A, "result = mx.grad(lambda t: (mx.softmax(t) * t).sum())(a)", "True"),
    "vmap": (A, "result = mx.vmap(lambda t: mx.sin(t) / t.sum())(a)", "True"),
    "compile": (A, "result = mx.compile(lambda t: mx.sin(t) + t.sum(axis=0))(a)", "True"),
    "training": (
        f"mx.random.seed(0); {LAYERS}; start = model.trainable_parameters(); mx.eval(start)",
        "model.update(start); optimizer = optimizers.Adam(0.1)\n"
        "step = nn.value_and_grad(model, lambda: (model(x) ** 2).mean())\n"
        "loss, gradients = step(); optimizer.update(model, gradients)\n"
        "mx.eval(loss, model); result = dict(utils.tree_flatten(model.parameters()))",
        "True",
    ),
    "asynchronous": (f"{A}; b = a @ a.T; c = mx.sin(a)",
    "mx.async_eval(b, c); result = [b, c + 1]", "True"),
    "two streams": (A,
    "s = mx.new_stream(mx.cpu); result = mx.add(mx.sin(a, stream=s), mx.cos(a))", "True"),
    "reading": (f"{A}; a = a[:20]",
    "result = [a.tolist(), str(a), bytes(a[0]), pickle.loads(pickle.dumps(a))]", "True"),
    "making": ("x = np.ones((30, 40))",
    "result = [mx.array(x), mx.array([[1.0, 2.0]] * 300), mx.arange(1000), mx.eye(50)]", "True"),
    "save npy": saving("mx.save(path, VALUE)", ".npy"),
    "save npz": saving("mx.savez(path, a=VALUE, b=VALUE)", ".npz"),
    "save safetensors": saving("mx.save_safetensors(path, {'a': VALUE, 'b': VALUE})",
    ".safetensors"),
    "save gguf": saving("mx.save_gguf(path, {'a': VALUE}, {'k': ['v']})", ".gguf"),
    "load npy": loading("mx.save(path, VALUE)", ".npy"),
    "load npz": loading("mx.savez(path, a=VALUE)", ".npz"),
    "load safetensors": loading("mx.save_safetensors(path, {'a': VALUE})", ".safetensors"),
    "load gguf": loading("mx.save_gguf(path, {'a': VALUE}, {'k': ['v']})", ".gguf"),
    "load blocks of gguf": (  # Q6_K
        "import struct; path = tempfile.mkdtemp() + '/file.gguf'; header = b'GGUF' + struct.pack("
        "'<IQQQsIQQIQ', 3, 1, 0, 1, b'w', 2, 256, 1000, 14, 0)\n"
        "with open(path, 'wb') as file: file.write(header.ljust(96) + b'1' * 210_000)",
        "result = mx.load(path); mx.eval(result)",
        "True",
    ),
    "save weights": (
        f"{LAYERS}; path = tempfile.mkdtemp() + '/w.safetensors'; model.save_weights(path); "
        "before = digest(mx.load(path))",
        "model.save_weights(path); result = mx.load(path)",
        "digest(mx.load(path)) == before",
    ),
}  # fmt: skip
