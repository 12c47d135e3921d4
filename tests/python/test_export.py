"""Exported functions: what is taken, what comes back, which errors there are; graphs as text."""

import gc
import io
import os
import pathlib
import re
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "f.cfn")


@pytest.fixture
def xy():
    return mx.array([1.0, 2.0]), mx.array([3.0, 5.0])


def back(path, fun, *args, **kwargs):
    mx.export_function(path, fun, *args, **kwargs)
    return mx.import_function(path)


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and mx.array_equal(a, b, equal_nan=True).item()


def add(x, y):
    return x + y


# ---- Arguments and results ----


def test_signatures():
    def signature(function):
        return function.__nb_signature__[0][0]

    fun = "fun: Callable[..., typing.Any]"
    rest = "shapeless: bool = False, metadata: str | None = None"
    assert signature(mx.export_function) == (
        f"def export_function(file_or_callback: str | Callable[..., typing.Any], {fun}, "
        f"*args: typing.Any, {rest}, **kwargs: typing.Any) -> None"
    )
    assert signature(mx.import_function).startswith(
        "def import_function(file: str, return_metadata: bool = False) -> "
    )
    assert (
        signature(mx.exporter) == f"def exporter(file: str, {fun}, *, {rest}) -> FunctionExporter"
    )
    assert signature(mx.export_to_dot).startswith(
        "def export_to_dot(file: object, *args: typing.Any, **kwargs: "
    )
    assert signature(mx.FunctionExporter.__exit__) == (
        "def __exit__(self, exc_type: object | None = None, exc_value: object | None = None, "
        "traceback: object | None = None) -> None"
    )


def test_arguments_are_arrays_or_a_tuple_and_a_dict(path, xy):
    x, y = xy
    want = x + y
    for form in ((x, y), ((x, y),), ([x, y],)):
        f = back(path, add, *form)
        for call in ((x, y), ((x, y),), ([x, y],)):
            (got,) = f(*call)
            assert same(got, want)
        assert same(f(x, y=y)[0], want)  # a name that no trace has is a position
    for args, kwargs in (((x,), {"y": y}), (((x,), {"y": y}), {}), (({"x": x, "y": y},), {})):
        f = back(path, add, *args, **kwargs)
        assert same(f(*args, **kwargs)[0], want)
    f = back(path, add, x, y=y)
    assert same(f((x,), {"y": y})[0], want)
    assert same(f(y=y, x=x)[0], want)
    for wrong in ((x, y), (x,), (), (x, y, x)):
        with pytest.raises(ValueError, match="has no function of"):
            f(*wrong)
    with pytest.raises(ValueError, match="y: float32"):
        f(x, z=y)


def test_names_without_a_place_come_in_their_order(path, xy):
    x, y = xy
    f = back(path, lambda a, b, c: a + 10 * b + 100 * c, x, y, x)
    assert same(f(x, c=y, b=x)[0], x + 10 * x + 100 * y)


@pytest.mark.parametrize("wrong", [1.0, "text", None, np.ones(2), [[1.0]]])
def test_other_arguments_are_refused(path, xy, wrong):
    x, y = xy
    f = back(path, add, x, y)
    calls = [(x, wrong), (wrong, x), ((x, wrong),), ({"a": wrong},), (x, {"y": y}), ((x,), y)]
    for call in (*calls, ((x,), {"y": y}, x), ({"y": y}, (x,)), ({1: x},), ([x], [y])):
        with pytest.raises(ValueError, match="import_function: the inputs are arrays"):
            f(*call)
        with pytest.raises(ValueError, match="export_function: the inputs are arrays"):
            mx.export_function(path, add, *call)
    for call, named in (((x,), {"y": wrong}), (((x,),), {"y": y}), (({"x": x},), {"y": y})):
        with pytest.raises(ValueError, match="the inputs are arrays"):
            f(*call, **named)


def test_results_are_a_tuple_of_arrays(path, xy):
    x, y = xy
    assert same(back(path, lambda x: x, x)(x)[0], x)
    assert same(back(path, lambda x: [x * 2], x)(x)[0], x * 2)
    got = back(path, lambda x: (x, y, x, mx.array(3)), x)(x)
    assert isinstance(got, tuple) and [g.tolist() for g in got] == [[1, 2], [3, 5], [1, 2], 3]
    assert back(path, lambda: (), ())() == ()
    assert back(path, lambda: mx.array(4))()[0].item() == 4
    for wrong in (None, 3, "text", {"a": x}, [(x, x)], [x, None], np.ones(2)):
        with pytest.raises(ValueError, match="export_function: the function is to return"):
            mx.export_function(path, lambda x, wrong=wrong: wrong, x)


def test_what_does_not_fit_is_refused(path, xy):
    x, y = xy
    f = back(path, add, x, y)
    for a, b in ((mx.zeros(3), mx.zeros(3)), (x.astype(mx.float16), y), (x[None], y[None])):
        with pytest.raises(ValueError) as error:
            f(a, b)
        assert "f.cfn has no function of" in str(error.value)
        assert "It has functions of\n  float32 (2,)\n  float32 (2,)" in str(error.value)


def test_errors_of_files(path, xy, tmp_path):
    with pytest.raises(FileNotFoundError):
        mx.import_function(path)
    with pytest.raises(FileNotFoundError):
        mx.export_function(str(tmp_path / "no" / "f"), add, *xy)
    for content in (b"", b"hello", b"CERMETFN", b"CERMETFN" + bytes(24), bytes(100)):
        pathlib.Path(path).write_bytes(content)
        with pytest.raises(ValueError, match=r"import_function: .*f\.cfn"):
            mx.import_function(path)
    mx.export_function(path, add, *xy)
    whole = pathlib.Path(path).read_bytes()
    pathlib.Path(path).write_bytes(whole[:8] + b"\2" + whole[9:])
    with pytest.raises(ValueError, match="its version is 2, expected 1"):
        mx.import_function(path)
    mx.export_function(pathlib.Path(path), add, *xy)
    assert mx.import_function(pathlib.Path(path))(*xy)
    for wrong in (3, None, xy[0]):
        with pytest.raises(TypeError):
            mx.export_function(wrong, add, *xy)
        with pytest.raises(TypeError):
            mx.export_function(path, wrong, *xy)
        with pytest.raises(TypeError):
            mx.import_function(wrong)


def test_errors_of_the_function_leave_the_file(path, xy):
    mx.export_function(path, add, *xy)
    with pytest.raises(ZeroDivisionError):
        mx.export_function(path, lambda x: 1 / 0, xy[0])
    with pytest.raises(ValueError, match="export_function: an array was evaluated"):
        mx.export_function(path, lambda x: x * x.sum().item(), xy[0])
    assert same(mx.import_function(path)(*xy)[0], add(*xy))


def test_metadata(path, xy):
    f, metadata = back(path, add, *xy, metadata="é {}"), "é {}"
    assert f(*xy)
    assert mx.import_function(path, return_metadata=True)[1] == metadata
    mx.export_function(path, add, *xy)
    g, metadata = mx.import_function(path, True)
    assert metadata == "" and same(g(*xy)[0], f(*xy)[0])
    with pytest.raises(ValueError, match="metadata is for files only"):
        mx.export_function(print, add, *xy, metadata="a")


# ---- Several traces ----


def test_exporter(path, xy):
    x, y = xy

    def total(*arrays, scale=None):
        summed = sum(arrays[1:], arrays[0])
        return summed if scale is None else summed * scale

    with mx.exporter(path, total, metadata="m") as exporter:
        assert isinstance(exporter, mx.FunctionExporter)
        assert exporter(x) is None
        exporter(x, y)
        exporter(x, x.astype(mx.float16))
        exporter(x, scale=y)
        exporter((x, y), {"scale": y})
        with pytest.raises(RuntimeError, match="there is a function of such inputs already"):
            exporter(y, x)
        assert not os.path.exists(path)
    with pytest.raises(RuntimeError, match="is closed"):
        exporter(x, y, x)
    exporter.close()
    f, metadata = mx.import_function(path, return_metadata=True)
    assert metadata == "m"
    assert same(f(x)[0], x) and same(f(x, y)[0], x + y)
    assert same(f(x, y, scale=x)[0], (x + y) * x)
    with pytest.raises(ValueError, match="has no function of"):
        f(x, y, x)


def test_an_exception_in_the_context_writes_nothing(path, xy):
    with pytest.raises(ZeroDivisionError), mx.exporter(path, add) as exporter:
        exporter(*xy)
        raise ZeroDivisionError
    assert not os.path.exists(path)


@pytest.mark.parametrize("what", ["export_function", "exporter", "export_to_dot"])
def test_other_threads_run_while_a_file_is_written(what, tmp_path):
    path = str(tmp_path / "pipe")
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(pathlib.Path(path).read_bytes()))
    reader.daemon = True
    c = mx.arange(100_000.0)  # more than a pipe holds
    started = threading.Timer(0.1, reader.start)  # when the pipe is being opened
    started.start()
    if what == "export_function":
        mx.export_function(path, lambda x: x + c, c)
    elif what == "exporter":
        with mx.exporter(path, lambda x: x + c) as exporter:
            exporter(c)
    else:
        mx.export_to_dot(path, c + 1)
    started.join()
    reader.join()
    assert read[0].startswith(b"digraph" if what == "export_to_dot" else b"CERMETFN")
    assert what == "export_to_dot" or len(read[0]) > c.nbytes


def test_an_exporter_is_not_closed_by_its_function(path, xy):
    def closes(x):
        exporter.close()
        return x

    exporter = mx.exporter(path, closes)
    with pytest.raises(RuntimeError, match="exporter: its function is being traced"):
        exporter(xy[0])
    exporter.close()
    with pytest.raises(ValueError, match="It has none"):
        mx.import_function(path)(xy[0])


def test_extents_that_an_operation_refuses_are_an_error_of_the_import(path, xy):
    f = back(path, lambda x, y: x @ y, mx.ones((2, 3)), mx.ones((3, 2)), shapeless=True)
    assert f(mx.ones((4, 5)), mx.ones((5, 6)))[0].shape == (4, 6)
    with pytest.raises(ValueError, match=rf"import_function: {re.escape(path)}: node 0: matmul"):
        f(mx.ones((4, 5)), mx.ones((4, 5)))


def test_an_exporter_lets_go_of_its_function(path, xy):
    class Callable:
        def __call__(self, x):
            return x * 2

    fun = Callable()
    gone = weakref.ref(fun)
    exporter = mx.exporter(path, fun)
    exporter(xy[0])
    exporter.close()
    f = mx.import_function(path)
    del fun, exporter
    gc.collect()
    assert gone() is None
    assert same(f(xy[0])[0], xy[0] * 2)


# ---- Extents ----

FOLLOW = """
x.mean() ; x.var(-1) ; mx.softmax(x, -1) ; x.reshape(-1) ; mx.flatten(x) ; mx.zeros_like(x) + x
x.T ; x @ x.T ; mx.fast.layer_norm(x, None, None, 1e-5) ; mx.fast.rms_norm(x, None, 1e-5)
mx.concatenate([x, x]) ; mx.stack([x, x]) ; mx.sort(x) ; mx.argmax(x, -1) ; mx.cumsum(x, 0)
mx.expand_dims(x, 0) ; mx.logsumexp(x) ; mx.where(x > 3, x, 0.0)
mx.linalg.norm(x) ; x.swapaxes(0, 1)
x.max(0, keepdims=True) ; mx.full_like(x, 2)
mx.grad(lambda t: (t * t).mean())(x) ; mx.grad(lambda t: (mx.softmax(t, -1) * x).sum())(x)
mx.grad(lambda t: (t @ t.T).sum())(x) ; mx.grad(lambda t: (mx.sort(t) * x).var())(x)
mx.grad(lambda t: mx.concatenate([t, x * t]).max())(x) ; mx.grad(lambda t: mx.cumsum(t, 0).sum())(x)
"""
TIED = """
x[1:] ; mx.squeeze(x[None], 0) ; mx.take_along_axis(x, mx.argsort(x), -1)
mx.compile(lambda t: t * 2 + 1)(x) ; x.reshape(x.shape[0], 2, -1)
x * x.shape[0] ; mx.pad(x, 1) ; mx.tril(x)
mx.split(x, 2, axis=1)[0] ; mx.linalg.qr(x, stream=mx.cpu)[1] ; mx.checkpoint(mx.sin)(x)
mx.grad(lambda t: mx.grad(lambda u: (u * u * x).sum())(t).sum())(x)
"""


def functions(table):
    return [f.strip() for line in table.strip().splitlines() for f in line.split(" ; ")]


@pytest.mark.parametrize("text", functions(FOLLOW))
def test_shapeless(path, text):
    fun = eval(f"lambda x: {text}", {"mx": mx})
    a = mx.arange(12.0).reshape(3, 4)
    f = back(path, fun, a, shapeless=True)
    for shape in ((3, 4), (5, 6), (2, 9), (1, 1), (4, 3)):
        x = mx.random.normal(shape, key=mx.random.key(1))
        assert same(f(x)[0], fun(x)), shape
    with pytest.raises(ValueError, match="with any extents"):
        f(a[None])
    with pytest.raises(ValueError, match="has no function of"):
        f(a.astype(mx.int32))


@pytest.mark.parametrize("text", functions(TIED))
def test_what_asks_for_extents_is_for_those_of_the_export(path, text):
    fun = eval(f"lambda x: {text}", {"mx": mx})
    a = mx.arange(12.0).reshape(3, 4)
    f = back(path, fun, a, shapeless=True)
    assert same(f(a)[0], fun(a))
    with pytest.raises(ValueError, match="has no function of"):
        f(mx.zeros((5, 6)))


def test_shapeless_inputs_that_do_not_fit_raise_what_the_operation_raises(path, xy):
    f = back(path, add, *xy, shapeless=True)
    assert f(mx.ones(3), mx.ones(1))[0].shape == (3,)
    with pytest.raises(ValueError, match="add: shapes"):
        f(mx.ones(3), mx.ones(2))
    with mx.exporter(path, add, shapeless=True) as exporter:
        exporter(*xy)
        with pytest.raises(RuntimeError):
            exporter(mx.ones(7), mx.ones(7))


# ---- What is exported ----


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiHeadAttention(32, 4)
        self.norm = nn.RMSNorm(32)
        self.mlp = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))
        self.rope = nn.RoPE(32)

    def __call__(self, x):
        y = self.rope(self.norm(x))
        mask = nn.MultiHeadAttention.create_additive_causal_mask(5, x.dtype)
        x = x + self.attention(y, y, y, mask)
        return x + self.mlp(x)


@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_a_model(path, quantized, dtype):
    model = Block()
    model.set_dtype(dtype)
    if quantized:
        nn.quantize(model, 32, 4)
    x = mx.random.normal((2, 5, 32), dtype=dtype)
    assert same(back(path, model, x)(x)[0], model(x))


def test_a_training_step(path):
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))

    def step(x, **parameters):
        def loss(parameters):
            model.update(mx_tree(parameters))
            return (model(x) ** 2).mean()

        gradients = mx.grad(loss)(parameters)
        return [gradients[name] for name in sorted(gradients)]

    from cermet.utils import tree_flatten, tree_unflatten

    def mx_tree(flat):
        return tree_unflatten(list(flat.items()))

    parameters = dict(tree_flatten(model.parameters()))
    x = mx.random.normal((2, 8, 8, 1))
    want = step(x, **parameters)
    got = back(path, step, x, **parameters)(x, **parameters)
    for a, b in zip(got, want, strict=True):
        assert same(a, b)


def test_random_numbers_by_key_differ_and_others_are_constants(path):
    f = back(path, lambda k: mx.random.normal((3,), key=k), mx.random.key(0))
    for seed in (0, 7):
        key = mx.random.key(seed)
        assert same(f(key)[0], mx.random.normal((3,), key=key))
    f = back(path, lambda x: x + mx.random.uniform(shape=(2,)), mx.zeros(2))
    assert same(f(mx.zeros(2))[0], f(mx.zeros(2))[0])


def test_rules_are_kept(path):
    @mx.custom_function
    def f(x):
        return x * x

    @f.vjp
    def f_vjp(primals, cotangent, output):
        return cotangent * 100 + output

    x = mx.array([1.0, 2.0])
    g = back(path, lambda x: f(x), x)
    want = mx.grad(lambda x: f(x).sum())(x)
    assert same(mx.grad(lambda x: g(x)[0].sum())(x), want) and want.tolist() == [101, 104]

    h = mx.checkpoint(lambda x: mx.sin(x) * x)
    g = back(path, lambda x: h(x), x)
    assert same(mx.grad(lambda x: g(x)[0].sum())(x), mx.grad(lambda x: (mx.sin(x) * x).sum())(x))


def test_transforms_of_an_imported_function(path):
    w = mx.random.normal((4, 4))

    def fun(x):
        return mx.tanh(w @ x).sum()

    x = mx.random.normal((4,))
    g = back(path, fun, x)
    assert same(mx.grad(lambda x: g(x)[0])(x), mx.grad(fun)(x))
    assert same(mx.vmap(lambda x: g(x)[0])(w), mx.vmap(fun)(w))
    assert same(mx.compile(g)(x)[0], fun(x))
    assert same(mx.jvp(lambda x: g(x)[0], [x], [x])[1][0], mx.jvp(fun, [x], [x])[1][0])
    hessian = mx.vmap(mx.grad(lambda x, v: (mx.grad(lambda x: g(x)[0])(x) * v).sum()), (None, 0))
    assert hessian(x, mx.eye(4)).shape == (4, 4)
    again = back(path, lambda x: g(x)[0] * 2, x)
    assert same(again(x)[0], fun(x) * 2)


def test_large_constants_are_read_when_they_are_needed(path):
    large = mx.random.normal((1000, 100))
    f = back(path, lambda x: (x + large, x + 1), mx.array(1.0))
    size = os.path.getsize(path)
    assert size < large.nbytes + 4096
    os.truncate(path, size - 100)
    sums = f(mx.array(1.0))
    assert sums[1].item() == 2
    with pytest.raises(OSError):
        mx.eval(sums[0])


def test_it_runs_where_the_call_is(path, xy):
    f = back(path, add, *xy)
    with mx.stream(mx.new_stream(mx.cpu)):
        assert same(f(*xy)[0], add(*xy))


def test_another_process_needs_no_code(path, xy):
    model = nn.Linear(2, 3)
    mx.export_function(path, model, xy[0][None])
    code = "import cermet.core as mx\n"
    code += f"print(mx.import_function({path!r})(mx.ones((1, 2)))[0].tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == model(mx.ones((1, 2))).tolist()


# ---- To look at ----


def test_callback(xy):
    x, _ = xy
    parts = []

    def fun(x, *, w):
        return mx.softmax(x @ w * 2.0, axis=-1), x

    a, w = mx.ones((2, 3)), mx.ones((3, 3))
    assert mx.export_function(parts.append, fun, a, w=w) is None
    types = [p["type"] for p in parts]
    assert types[:4] == ["inputs", "keyword_inputs", "outputs", "constants"]
    assert set(types[4:]) == {"primitive"}
    assert parts[0]["inputs"] == [("A", (2, 3), mx.float32), ("B", (3, 3), mx.float32)]
    assert parts[1]["keywords"] == [("w", "B")]
    assert parts[2]["outputs"][1] == ("A", (2, 3), mx.float32)
    assert all(isinstance(value, mx.array) for _, value in parts[3]["constants"])
    known = {name for name, *_ in parts[0]["inputs"]} | {name for name, _ in parts[3]["constants"]}
    for p in parts[4:]:
        assert {name for name, *_ in p["inputs"]} <= known
        known |= {name for name, *_ in p["outputs"]}
        assert isinstance(p["name"], str) and isinstance(p["arguments"], list)
    assert {name for name, *_ in parts[2]["outputs"]} <= known
    assert parts[4]["name"] == "matmul"
    with pytest.raises(ZeroDivisionError):
        mx.export_function(lambda part: 1 / 0, add, x, x)


def test_dot(tmp_path, xy):
    x, y = xy
    file = io.StringIO()
    mx.export_to_dot(file, {"a": x + y, "b": [x - y]}, x=x, y=y)
    assert file.getvalue() == (
        'digraph {\n{ rank=source; "x"; }\n{ rank=source; "y"; }\n'
        '{ 0 [label="Add", shape=rectangle]; }\n"x" -> 0\n"y" -> 0\n{ rank=sink; "A"; }\n0 -> "A"\n'
        '{ 1 [label="Subtract", shape=rectangle]; }\n"x" -> 1\n"y" -> 1\n{ rank=sink; "B"; }\n'
        '1 -> "B"\n}\n'
    )
    # Named arrays are drawn though no other needs them; one that another needs is no end.
    file, inner = io.StringIO(), mx.floor_divide(x, y)
    mx.export_to_dot(file, inner + y, inner=inner, alone=mx.sin(x))
    drawn = file.getvalue()
    assert '{ "inner"; }' in drawn and '{ rank=sink; "alone"; }' in drawn
    assert 'label="FloorDivide"' in drawn and 'label="Sin"' in drawn
    path = tmp_path / "g.dot"
    mx.export_to_dot(str(path), mx.exp(x))
    assert path.read_text().startswith("digraph {")
    file = io.StringIO()
    mx.export_to_dot(file, mx.linalg.qr(mx.ones((2, 2)) + x, stream=mx.cpu))
    assert file.getvalue().count('label="Qr"') == 1
    file = io.StringIO()
    mx.export_to_dot(file)
    assert file.getvalue() == "digraph {\n}\n"
    deep = x
    for _ in range(50_000):
        deep = deep + y
    mx.export_to_dot(io.StringIO(), deep)
    for call in ((io.StringIO(), 3), (3, x)):
        with pytest.raises(ValueError, match="export_to_dot"):
            mx.export_to_dot(*call)
    with pytest.raises(ValueError, match="export_to_dot: names are of arrays"):
        mx.export_to_dot(io.StringIO(), x, x=3)


# ---- All primitives ----


def test_every_primitive_has_a_row():
    """A class of csrc/graph that is a primitive is in the table, or is one that cannot be."""
    root = pathlib.Path(__file__).parents[2] / "csrc"
    if not root.is_dir():
        pytest.skip("the sources are not here")
    classes = set()
    for file in [*root.glob("graph/**/*.[ch]*"), *root.glob("transforms/*")]:
        text = file.read_text(encoding="utf-8")
        classes |= set(
            re.findall(
                r"class (\w+) final\s*: public "
                r"(?:Primitive|Several|Composite|CompositeWith|OfExtents|Followed|Custom|Load)\b",
                text,
            )
        )
    table = (root / "export" / "primitives.cpp").read_text(encoding="utf-8")
    rows = set(re.findall(r"row<(\w+)>\(", table))
    others = {"Constant", "Arange", "Pick", "GpuKernel", "Placeholder", "Call"}
    assert classes - rows == others | {"CustomFunction"} and rows <= classes
