"""Row programs printed as C++, the peers that are made of them, and the formulas they are for."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

import cermet.core as mx
from cermet import nn
from cermet.bench import cases, formulas, peers, printed
from cermet.bench.peers.copy import copies
from cermet.bench.peers.cpp import Printed

ROOT = Path(__file__).parents[2]
compiles = pytest.mark.skipif(not shutil.which("c++"), reason="there is no compiler")


@pytest.fixture(autouse=True)
def one_width(monkeypatch):
    monkeypatch.setattr(printed, "WIDTHS", (256,))
    monkeypatch.setenv("CERMET_SOURCE", str(ROOT))


def kinds(x):
    n = x.astype(mx.int32)
    chosen = mx.where((n > 3) | (x < 0), mx.maximum(x, -math.inf), n * 2 + 1)
    return chosen, n & 7, mx.isnan(x) | (x > 1), mx.sin(1e5 * x) + x**2.5


def half(x):
    return nn.gelu(x) * 0.1, nn.silu(x)


@compiles
@pytest.mark.parametrize(
    ("function", "dtype"),
    [(kinds, "float32"), (half, "float16"), (half, "bfloat16")],
)
def test_the_printed_program_has_the_bits(function, dtype):
    generator = np.random.default_rng(0)
    values = 5 * generator.standard_normal((5, 4001), np.float32)
    values[0, :8] = [0, -0.0, math.inf, -math.inf, math.nan, 1e-40, 1e30, -1e5]
    x = mx.array(values).astype(getattr(mx, dtype))
    mx.eval(x)
    Printed(mx, function, [x], 2).run()  # it compares


@compiles
def test_arrays_and_single_elements_are_found():
    x, y, z = (mx.random.normal((1000,)) for _ in range(3))
    scale = mx.array(2.0)
    mx.eval(x, y, z, scale)
    Printed(mx, lambda x, y, z, s: (x - y * z, x / s), [z, y, x, scale], 1).run()


@compiles
def test_other_bits_are_an_error(monkeypatch):
    text = printed.cpp
    monkeypatch.setattr(
        printed, "cpp", lambda program: text(program).replace("subtract(in0", "add(in0")
    )
    with pytest.raises(printed.Unprintable, match="bits"):
        Printed(mx, lambda x: x - 1, [mx.array([1.0, 2.0])], 1)


@pytest.mark.parametrize(
    ("function", "why"),
    [
        (mx.softmax, "reductions"),
        (lambda x: x + mx.ones((1, 3)) * x[0], "operand of rows|not one row program"),
        (lambda x: x @ x.T, "not one row program"),
        (lambda x: x.astype(mx.complex64) + 1, "complex64"),
    ],
)
def test_what_cannot_be_printed(function, why):
    x = mx.ones((3, 3))
    mx.eval(x)
    with pytest.raises(printed.Unprintable, match=why):
        printed.parse(mx.explain(function(x)))


def test_without_the_source(monkeypatch, tmp_path):
    monkeypatch.setenv("CERMET_SOURCE", str(tmp_path))
    with pytest.raises(printed.Unprintable, match="CERMET_SOURCE"):
        printed.source_folder()


@compiles
@pytest.mark.parametrize("name", ["cpp", "copy"])
def test_a_peer_of_a_case(name):
    (case,) = (case for case in cases.CASES if case.name == "silu")
    for dtype in ("f32", "f16"):
        case.build(peers.load(name, "cpu", 1), 64, dtype).run()


@compiles
def test_what_only_reads_is_compared_with_reading():
    (case,) = (case for case in cases.CASES if case.name == "sum_all")
    case.build(peers.load("copy", "cpu", 2), 256, "f32").run()


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (2, 1), (4, 3), (1, 3), (3, 7)])
def test_a_copy_moves_as_many_bytes(inputs, outputs):
    arrays = [mx.full((100,), float(i)) for i in range(inputs)]
    mx.eval(arrays)
    last = mx.explain(*copies(arrays, outputs)).splitlines()[-1]
    assert last == f"1 step, reads {400 * inputs} bytes, writes {400 * outputs} bytes"


class Doubles:
    """NumPy in float64, by the adaptors' names."""

    sqrt, log, exp, clip = np.sqrt, np.log, np.exp, np.clip
    erf = np.vectorize(math.erf)


def test_density_of_sea_water():
    # Of standard sea water at 0 and 25 degrees, and its derivatives by differences.
    s, t, p = np.array([35.16504, 35.0, 34.0]), np.array([0.0, 25.0, 10.0]), np.array([1.0, 2, 2e3])
    rho, sound, _, expansion, ratio, thermobaric, growth = formulas.seawater(Doubles, s, t, p)

    def slope(f, h, *which):
        ahead, behind = (
            [v + sign * h * w for v, w in zip((s, t, p), which, strict=True)] for sign in (1, -1)
        )
        return (f(*ahead) - f(*behind)) / (2 * h)

    def of(*x):
        return formulas.density(Doubles, *x)

    def alpha(*x):
        return formulas.seawater(Doubles, *x)[3]

    def beta(*x):
        return alpha(*x) / formulas.seawater(Doubles, *x)[4]

    np.testing.assert_allclose(rho[:2], [1028.11, 1023.23], atol=0.01)
    np.testing.assert_allclose(sound[:2], [1449.1, 1534.1], atol=0.1)
    close = lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4)  # noqa: E731
    close(expansion, -slope(of, 1e-3, 0, 1, 0) / rho)
    close(expansion / ratio, slope(of, 1e-3, 1, 0, 0) / rho)
    close(sound, (slope(of, 1e-1, 0, 0, 1) / 1e4) ** -0.5)
    close(thermobaric, beta(s, t, p) * slope(lambda *x: alpha(*x) / beta(*x), 1, 0, 0, 1) / 1e4)
    close(slope(lambda *x: formulas.seawater(Doubles, *x)[2], 1, 0, 0, 1), 1e4 / rho)
    low, middle, high = (of(s, t, q) for q in (0, 2e3, 4e3))
    close(growth, (high - middle) / (middle - low))


def test_implied_volatility():
    spot, strike, years = np.array([100.0, 100, 120]), np.array([100.0, 105, 110]), 1.0
    volatility = np.array([0.3, 0.2, 0.4])
    held, due = spot * np.exp(-0.01), strike * np.exp(-0.02)
    first = np.log(held / due) / volatility + volatility / 2
    normal = [0.5 + 0.5 * Doubles.erf(x / 2**0.5) for x in (first, first - volatility)]
    call = held * normal[0] - due * normal[1]
    found = formulas.implied_volatility(Doubles, call, spot, strike, years)
    np.testing.assert_allclose(found, volatility, rtol=1e-4)


@pytest.mark.parametrize("name", ["density", "seawater", "implied_volatility"])
def test_a_formula_is_one_program_of_so_many_operations(name):
    (case,) = (case for case in cases.CASES if case.name == name)
    function = getattr(formulas, name)
    arrays = [
        mx.full((8,), mean)
        for mean in (30.0, 10.0, 100.0, 1.0)[: function.__code__.co_argcount - 1]
    ]
    mx.eval(arrays)
    results = function(peers.load("cermet", "cpu", 1), *arrays)
    program = printed.parse(mx.explain(*(results if isinstance(results, tuple) else [results])))
    assert f"{len(program.lines)} operations" in case.summary
