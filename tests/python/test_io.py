"""Files: npy, npz and safetensors written here and by others, and files that are broken."""

import io
import json
import pathlib
import struct
from contextlib import suppress

import numpy as np
import pytest
from conftest import ALL_DTYPES, assert_equal, exact_sample, mx_dtype, to_mx, to_np

import cermet.core as mx

SHAPES = [(), (0, 3), (5,), (2, 3, 4)]


@pytest.mark.parametrize("dtype", ALL_DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_npy(dtype, shape, rng, tmp_path):
    x, path = exact_sample(rng, shape, dtype), tmp_path / "a.npy"
    mx.save(path, to_mx(x))
    loaded = mx.load(path)
    assert loaded.dtype == mx_dtype(dtype)
    assert_equal(loaded, x)
    if dtype != "bfloat16":  # which NumPy has not
        assert_equal(np.load(path), x)
        np.save(path, x)
        assert_equal(mx.load(str(path)), x)


def test_npy_layouts(tmp_path):
    x, path = np.arange(24.0, dtype=np.float32).reshape(4, 6), tmp_path / "a.npy"
    for view in (lambda x: x.T, lambda x: x[::-1, ::2]):
        mx.save(path, view(to_mx(x)))
        assert_equal(np.load(path), view(x))
    np.save(path, np.asfortranarray(x))
    assert_equal(mx.load(path), x)
    np.save(path, x.astype(">f4"))
    assert_equal(mx.load(path), x)


def test_extensions_are_added(tmp_path):
    mx.save(str(tmp_path / "a"), mx.ones(1))
    mx.savez(str(tmp_path / "b"), mx.ones(1))
    mx.save_safetensors(str(tmp_path / "c"), {"x": mx.ones(1)})
    assert {p.name for p in tmp_path.iterdir()} == {"a.npy", "b.npz", "c.safetensors"}


@pytest.mark.parametrize("save", [mx.savez, mx.savez_compressed])
def test_npz(save, tmp_path):
    path = tmp_path / "a.npz"
    save(path, mx.arange(2), mx.ones(()), key=mx.ones((1, 2), mx.float16))
    want = {"arr_0": np.arange(2), "arr_1": np.ones(()), "key": np.ones((1, 2))}
    for loaded in (mx.load(path), dict(np.load(path))):
        assert loaded.keys() == want.keys()
        for key in want:
            assert_equal(loaded[key], want[key])
    np.savez_compressed(path, x=np.arange(3))
    assert mx.load(path)["x"].tolist() == [0, 1, 2]


def test_safetensors(rng, tmp_path):
    path = tmp_path / "a.safetensors"
    dtypes = [dtype for dtype in ALL_DTYPES if dtype not in ("float64", "complex64")]
    arrays = {dtype: exact_sample(rng, (3, 4), dtype) for dtype in dtypes}
    arrays |= {f"shape {shape}": exact_sample(rng, shape, "float32") for shape in SHAPES}
    mx.save_safetensors(
        path, {k: to_mx(x) for k, x in arrays.items()}, {"format": "test", "π": "ü"}
    )
    loaded, metadata = mx.load(path, return_metadata=True)
    assert metadata == {"format": "test", "π": "ü"}
    assert loaded.keys() == arrays.keys() == mx.load(str(path)).keys()
    for key, x in arrays.items():
        assert to_np(loaded[key]).dtype == x.dtype
        assert_equal(loaded[key], x, key)


def safetensors(header, data=b""):
    """The bytes of a file with a given header, an object or text."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(**changes):
    return {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | changes


def test_safetensors_of_others(tmp_path):
    path = tmp_path / "a.safetensors"
    data = struct.pack("<4f", 1, 2, 3, 4)
    path.write_bytes(safetensors({"b": tensor(data_offsets=[8, 16]), "a": tensor()}, data))
    loaded = mx.load(path)
    assert loaded["a"].tolist() == [1, 2] and loaded["b"].tolist() == [3, 4]


def test_a_loaded_file_may_be_replaced(tmp_path):
    """Loading is lazy at most until `eval`: then the file is no longer needed."""
    path = tmp_path / "a.safetensors"
    mx.save_safetensors(path, {"x": mx.arange(1000)})
    x = mx.load(path)["x"]
    mx.eval(x)
    path.unlink()
    assert x[-1].item() == 999
    mx.save_safetensors(path, {"x": x + 1})
    again = mx.load(path)
    mx.save_safetensors(tmp_path / "b.safetensors", again)
    assert mx.load(tmp_path / "b.safetensors")["x"][0].item() == 1


def test_file_objects(tmp_path):
    buffer = io.BytesIO()
    mx.save(buffer, mx.arange(3))
    buffer.seek(0)
    assert mx.load(buffer, format="npy").tolist() == [0, 1, 2]
    with open(tmp_path / "a.safetensors", "wb") as file:
        mx.save_safetensors(file, {"x": mx.arange(3)})
    with open(tmp_path / "a.safetensors", "rb") as file:
        assert mx.load(file)["x"].tolist() == [0, 1, 2]


# Broken files


def evaluate(loaded):
    mx.eval(loaded)
    return loaded


@pytest.mark.parametrize("extension", ["npy", "npz", "safetensors"])
def test_missing_files_are_named(extension, tmp_path):
    path = tmp_path / f"nowhere.{extension}"
    with pytest.raises((OSError, RuntimeError, ValueError), match="nowhere"):
        evaluate(mx.load(path))
    array = {"safetensors": {"x": mx.ones(1)}}.get(extension, mx.ones(1))
    save = {"npy": mx.save, "npz": mx.savez, "safetensors": mx.save_safetensors}[extension]
    with pytest.raises((OSError, RuntimeError, ValueError), match="nowhere"):
        save(tmp_path / "missing" / f"nowhere.{extension}", array)


@pytest.mark.parametrize("extension", ["npy", "npz", "safetensors"])
def test_truncated_files_are_named(extension, tmp_path):
    whole, broken = tmp_path / f"whole.{extension}", tmp_path / f"broken.{extension}"
    if extension == "safetensors":
        mx.save_safetensors(whole, {"x": mx.arange(100), "y": mx.ones(3)}, {"k": "v"})
    else:
        (mx.save if extension == "npy" else mx.savez)(whole, mx.arange(100))
    data = whole.read_bytes()
    for size in [*range(0, 64, 3), len(data) // 2, len(data) - 400, len(data) - 1]:
        broken.write_bytes(data[:size])
        with pytest.raises((OSError, RuntimeError, ValueError), match="broken"):
            evaluate(mx.load(broken))


BROKEN_HEADERS = {
    "not JSON": "{",
    "a list": "[]",
    "an unknown dtype": {"x": tensor(dtype="Q7")},
    "no dtype": {"x": {"shape": [2], "data_offsets": [0, 8]}},
    "no offsets": {"x": {"dtype": "F32", "shape": [2]}},
    "a negative size": {"x": tensor(shape=[-2])},
    "a fractional size": {"x": tensor(shape=[0.5])},
    "a size that does not match": {"x": tensor(shape=[3])},
    "offsets beyond the end": {"x": tensor(shape=[4], data_offsets=[0, 16])},
    "offsets reversed": {"x": tensor(data_offsets=[8, 0])},
    "negative offsets": {"x": tensor(data_offsets=[-8, 0])},
    "huge offsets": {"x": tensor(shape=[2**62], data_offsets=[0, 2**64 - 8])},
    "an overflowing shape": {"x": tensor(shape=[2**32, 2**32, 2])},
    "a tensor that is a number": {"x": 3},
    "deep nesting": "[" * 100_000,
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
def test_malformed_safetensors_are_named(name, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(safetensors(BROKEN_HEADERS[name], bytes(8)))
    with pytest.raises((OSError, RuntimeError, ValueError, TypeError), match="broken"):
        evaluate(mx.load(path))


def test_header_length_beyond_the_file(tmp_path):
    path = tmp_path / "broken.safetensors"
    for length in (2**63, 2**64 - 1, 10**9, 100):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises((OSError, RuntimeError, ValueError), match="broken"):
            evaluate(mx.load(path))


NPY = b"\x93NUMPY\x01\x00"


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
        "{'descr': '<U1', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
        "{'descr': '<f4', 'shape': (2,), }",
        "{'fortran_order': False, 'shape': (2,), }",
        "nonsense",
        "",
    ],
)
def test_malformed_npy_are_named(header, tmp_path):
    path = tmp_path / "broken.npy"
    text = header.encode() + b"\n"
    path.write_bytes(NPY + struct.pack("<H", len(text)) + text + bytes(8))
    with pytest.raises((OSError, RuntimeError, ValueError, TypeError), match="broken"):
        evaluate(mx.load(path))


def test_random_bytes_never_crash(rng, tmp_path):
    """Single bytes of good files changed: a value or an error, nothing else."""
    good = tmp_path / "good.safetensors"
    mx.save_safetensors(good, {"x": mx.arange(8), "y": mx.ones((2, 2))})
    mx.save(tmp_path / "good.npy", mx.arange(8))
    for source in (good, tmp_path / "good.npy"):
        data = bytearray(source.read_bytes())
        path = tmp_path / f"changed{source.suffix}"
        for at in rng.integers(0, min(len(data), 150), 200):
            changed = bytearray(data)
            changed[at] = rng.integers(0, 256)
            path.write_bytes(changed)
            with suppress(OSError, RuntimeError, ValueError, TypeError, KeyError):
                evaluate(mx.load(path))


@pytest.mark.parametrize(
    "call",
    [
        lambda p: mx.load(p / "a.zzz"),
        lambda p: mx.load(p / "a"),
        lambda p: mx.load(p / "a.npy", format="zzz"),
        lambda p: mx.load(p / "a.npy", return_metadata=True),
    ],
)
def test_other_errors(call, tmp_path):
    mx.save(pathlib.Path(tmp_path) / "a.npy", mx.ones(1))
    with pytest.raises((OSError, RuntimeError, ValueError)):
        call(tmp_path)
