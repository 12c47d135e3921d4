"""Files: npy, npz and safetensors written here and by others, and files that are broken. GGUF has a
file of tests of its own."""

import io
import json
import os
import pathlib
import struct
import zipfile
import zlib
from contextlib import suppress

import numpy as np
import pytest
from conftest import ALL_DTYPES, assert_equal, exact_sample, mx_dtype, to_mx, to_np

import cermet.core as mx
import cermet.nn as nn

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
    text = header if isinstance(header, (str, bytes)) else json.dumps(header)
    text = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(dtype="F32", shape=(2,), begin=0, **changes):
    size = {"F32": 4, "BOOL": 1}.get(dtype, 4)
    end = begin + size * int(np.prod(shape)) if max(shape, default=0) < 2**60 else 0
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]} | changes


def test_safetensors_of_others(tmp_path):
    path = tmp_path / "a.safetensors"
    data = struct.pack("<4f", 1, 2, 3, 4)
    path.write_bytes(safetensors({"b": tensor(data_offsets=[8, 16]), "a": tensor()}, data))
    loaded = mx.load(path)
    assert loaded["a"].tolist() == [1, 2] and loaded["b"].tolist() == [3, 4]


@pytest.mark.parametrize("dtype", ["E4M3", "E5M2", "E8M0", "E4M3FNUZ", "E5M2FNUZ"])
def test_floats_of_8_bits_are_read_as_their_codes(dtype):
    data = safetensors({"x": tensor(f"F8_{dtype}", [2, 3], data_offsets=[0, 6])}, bytes(range(6)))
    x = mx.load(io.BytesIO(data))["x"]
    assert x.dtype == mx.uint8 and x.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_elements_smaller_than_a_byte_are_read_as_their_bytes():
    for dtype, shape, packed in (("F4", [2, 4], (2, 2)), ("F6_E3M2", [1, 8], (1, 6))):
        size = int(np.prod(packed))
        header = {"x": tensor(dtype, shape, data_offsets=[0, size])}
        x = mx.load(io.BytesIO(safetensors(header, bytes(range(size)))))["x"]
        assert x.dtype == mx.uint8 and x.shape == packed
        assert x.reshape(-1).tolist() == list(range(size))
    for shape in ([], [4, 3], [2**63 - 1]):
        header = {"x": tensor("F4", shape, data_offsets=[0, 6])}
        with pytest.raises(ValueError, match=r"'x': (a row of 4 bits|.*63 bits count)"):
            mx.load(io.BytesIO(safetensors(header, bytes(6))))


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_npy(version, tmp_path):
    path = tmp_path / "a.npy"
    for x in (np.array(2.5), np.zeros((0, 3), np.float32), np.asfortranarray(np.eye(3, 2))):
        with open(path, "wb") as file:
            np.lib.format.write_array(file, x, version)
        assert_equal(mx.load(path), x)


@pytest.mark.parametrize(
    ("dtype", "says"),
    [
        ("U3", "'<U3'"),
        ("S3", r"'\|S3'"),
        ("M8[s]", r"'<M8\[s\]'"),
        ("O", r"'\|O'"),
        ("c16", "'<c16'"),
        (np.longdouble, "'<f"),
        ([("a", "f4"), ("b", ">i2")], "structured elements"),
    ],
)
def test_npy_of_other_types_is_refused_by_name(dtype, says, tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros(2, dtype), allow_pickle=True)
    with pytest.raises(ValueError, match=f"a.npy: .*{says}.*not supported"):
        mx.load(path)


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
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate(mx.load(path))
    array = {"safetensors": {"x": mx.ones(1)}}.get(extension, mx.ones(1))
    save = {"npy": mx.save, "npz": mx.savez, "safetensors": mx.save_safetensors}[extension]
    with pytest.raises(FileNotFoundError, match="nowhere"):
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
        with pytest.raises(ValueError, match="broken"):
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
    "deep nesting of a tensor": '{"x": ' + '{"shape": ' * 100_000,
    "deep nesting of a shape": {"x": tensor() | {"shape": [[[2]]]}},
    "a text for a shape": {"x": tensor() | {"shape": "2"}},
    "numbers beyond 64 bits": {"x": tensor() | {"shape": [2**70]}},
    "a size beyond the file": {"x": tensor(shape=[2**40], data_offsets=[0, 2**42])},
    "tensors that overlap": {"x": tensor(), "y": tensor(shape=[1], begin=4)},
    "a tensor twice": '{"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
    '"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    "metadata that is a list": {"__metadata__": ["a"]},
    "metadata of numbers": {"__metadata__": {"a": 1}},
    "metadata of null": {"__metadata__": {"a": None}},
    "a tensor that is null": {"x": None},
    "no UTF-8": b'{"x\xbb\xff": 3}',
    "no UTF-8 in a type": b'{"x": {"dtype": "F\xbb2", "shape": [2], "data_offsets": [0, 8]}}',
}


@pytest.mark.parametrize("name", BROKEN_HEADERS)
def test_malformed_safetensors_are_named(name, tmp_path):
    path = tmp_path / "broken.safetensors"
    path.write_bytes(safetensors(BROKEN_HEADERS[name], bytes(8)))
    with pytest.raises(ValueError, match="broken"):
        evaluate(mx.load(path))


def test_safetensors_whose_metadata_is_null():  # as MLX writes that there is none
    file = io.BytesIO(safetensors({"__metadata__": None, "x": tensor()}, bytes(8)))
    arrays, metadata = mx.load(file, format="safetensors", return_metadata=True)
    assert (arrays["x"].tolist(), metadata) == ([0, 0], {})


@pytest.mark.parametrize("header", ["[]", "5", "-5", "0.5", '"a"', "null", "true"])
def test_safetensors_whose_header_is_no_object(header):
    with pytest.raises(ValueError, match="file: the header is not a JSON object"):
        mx.load(io.BytesIO(safetensors(header)))


def test_header_length_beyond_the_file(tmp_path):
    path = tmp_path / "broken.safetensors"
    for length in (2**63, 2**64 - 1, 10**9, 100):
        path.write_bytes(struct.pack("<Q", length) + b"{}")
        with pytest.raises(ValueError, match="broken"):
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
    with pytest.raises(ValueError, match="broken"):
        evaluate(mx.load(path))


def test_random_bytes_never_crash(rng, tmp_path):
    """Single bytes of good files changed: a value or an error, nothing else."""
    good = tmp_path / "good.safetensors"
    mx.save_safetensors(good, {"x": mx.arange(8), "y": mx.ones((2, 2))})
    mx.save(tmp_path / "good.npy", mx.arange(8))
    mx.savez(tmp_path / "good.npz", x=mx.arange(8))
    mx.savez_compressed(tmp_path / "packed.npz", x=mx.arange(8))
    for source in (good, *tmp_path.glob("*.np?")):
        data = bytearray(source.read_bytes())
        path = tmp_path / f"changed{source.suffix}"
        for at in rng.integers(0, min(len(data), 700), 400):
            changed = bytearray(data)
            changed[at] = rng.integers(0, 256)
            path.write_bytes(changed)
            with suppress(ValueError):
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
    with pytest.raises(ValueError):
        call(tmp_path)


# Archives


def archive(name="x.npy", method=zipfile.ZIP_STORED, content=None, **fields):
    """The bytes of an archive, with fields of its member's directory entry overwritten."""
    if content is None:
        out = io.BytesIO()
        np.save(out, np.arange(1000.0))
        content = out.getvalue()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as file:
        file.writestr(zipfile.ZipInfo(name), content, method)
    data = bytearray(out.getvalue())
    places = {"flags": (8, 2), "method": (10, 2), "crc": (16, 4), "packed": (20, 4)}
    places |= {"size": (24, 4), "at": (42, 4)}
    for field, value in fields.items():
        at, size = places[field]
        at += data.index(b"PK\1\2")
        data[at : at + size] = value.to_bytes(size, "little")
    return data


def npy(header="{'descr': '|u1', 'fortran_order': False, 'shape': (2,), }", data=b"ab"):
    return NPY + struct.pack("<H", len(header)) + header.encode() + data


BROKEN_ARCHIVES = {
    "nothing": b"",
    "no archive": b"PK" + bytes(100),
    "a path upwards": archive("../x.npy"),
    "a path upwards inside": archive("a/../../x.npy"),
    "an absolute path": archive("/etc/x.npy"),
    "a path of Windows": archive("..\\x.npy"),
    "encrypted": archive(flags=1),
    "bzip2": archive(method=zipfile.ZIP_BZIP2),
    "lzma": archive(method=zipfile.ZIP_LZMA),
    "a wrong checksum": archive(crc=1),
    "a wrong checksum of compressed bytes": archive(method=zipfile.ZIP_DEFLATED, crc=1),
    "more bytes than there are": archive(size=2**30, packed=2**30),
    "more bytes than deflate makes": archive(method=zipfile.ZIP_DEFLATED, size=2**31),
    "fewer bytes than are compressed": archive(method=zipfile.ZIP_DEFLATED, size=100),
    "a place beyond the end": archive(at=2**31),
    "two sizes": archive(size=5),
    "no npy file": archive(content=b"no npy file"),
    "an object": archive(content=npy("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }")),
    "bytes behind the array": archive(content=npy(data=b"abc")),
    "no bytes": archive(content=npy(data=b"")),
    "a shape beyond memory": archive(
        content=npy("{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000000,), }")
    ),
}


@pytest.mark.parametrize("name", BROKEN_ARCHIVES)
def test_malformed_npz_are_named(name, tmp_path):
    path = tmp_path / "broken.npz"
    path.write_bytes(BROKEN_ARCHIVES[name])
    for file in (path, io.BytesIO(BROKEN_ARCHIVES[name])):
        with pytest.raises(ValueError, match="broken" if file is path else "file"):
            evaluate(mx.load(file, format="npz"))
    assert os.listdir(tmp_path) == ["broken.npz"]


def test_members_share_no_bytes(tmp_path):
    """A directory that names the same bytes again and again: an archive of few makes no more."""
    data = archive()
    at, end = data.index(b"PK\1\2"), data.index(b"PK\5\6")
    entry = data[at:end]
    entries = [bytes(entry).replace(b"x.npy", f"{i:05}".encode()) for i in range(100)]
    path = tmp_path / "broken.npz"
    for chosen, says in ((entries, "is to have"), (entries[:1] * 2, "two members are called")):
        numbers = struct.pack("<HHI", len(chosen), len(chosen), len(entry) * len(chosen))
        ending = data[end : end + 8] + numbers + data[end + 16 :]
        path.write_bytes(data[:at] + b"".join(chosen) + ending)
        with pytest.raises(ValueError, match=f"broken.*{says}"):
            mx.load(path)


def test_numbers_of_an_archive_of_others(tmp_path):
    """With a comment, 64-bit fields, and a name that is no UTF-8."""
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.comment = b"PK\5\6" * 10
        with file.open("x.npy", "w", force_zip64=True) as entry:
            np.save(entry, np.arange(100_000))
    assert mx.load(path)["x"].size == 100_000
    data = bytes(archive("q.npy", content=npy())).replace(b"q.npy", b"\xff.npy")
    path.write_bytes(data)
    assert mx.load(path)["\\xff"].tolist() == [97, 98]


def test_checksums_are_those_of_zlib(tmp_path):
    path = tmp_path / "a.npz"
    for size in (0, 1, 7, 8, 9, 63, 1000):
        x = np.random.default_rng(size).integers(0, 256, size).astype(np.uint8)
        mx.savez(path, x=mx.array(x))
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            assert zlib.crc32(file.read("x.npy")) == file.infolist()[0].CRC
        assert_equal(mx.load(path)["x"], x)


def test_pickles_are_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os._exit, (1,)

    path = tmp_path / "broken.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"broken.*'.O' are not supported"):
        mx.load(path)


@pytest.mark.parametrize("name", ["layers.9999999999.weight", f"layers.{'9' * 5000}.weight"])
@pytest.mark.parametrize("extension", ["npz", "safetensors"])
def test_a_name_makes_no_long_list(name, extension, tmp_path):
    path = tmp_path / f"a.{extension}"
    if extension == "npz":
        mx.savez(path, **{name: mx.ones(1)})
    else:
        mx.save_safetensors(path, {name: mx.ones(1)})
    with pytest.raises(ValueError, match=r"9999999999|digits"):
        nn.Sequential(nn.Linear(2, 2)).load_weights(path)
