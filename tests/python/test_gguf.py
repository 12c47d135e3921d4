"""GGUF: what is read and written, here and by the package gguf, the reference."""

import io
import os
import struct
from contextlib import suppress

import numpy as np
import pytest
from conftest import assert_close, assert_equal, exact_sample, mx_dtype, to_mx, to_np

import cermet.core as mx

WRITTEN = ("float32", "float16", "bfloat16", "float64", "int8", "int16", "int32", "int64")
SHAPES = [(), (3,), (0,), (2, 3, 4)]

# ---- A file by hand ----

NUMBERS = {
    "uint8": (0, "B"),
    "int8": (1, "b"),
    "uint16": (2, "H"),
    "int16": (3, "h"),
    "uint32": (4, "I"),
    "int32": (5, "i"),
    "float32": (6, "f"),
    "bool": (7, "?"),
    "uint64": (10, "Q"),
    "int64": (11, "q"),
    "float64": (12, "d"),
}
TEXT, LIST = 8, 9


def text(value):
    value = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(value)) + value


def number(kind, value):
    code, form = NUMBERS[kind]
    return struct.pack("<I" + form, code, value)


def items(code, values):
    """A list of values that are packed already."""
    return struct.pack("<IQ", code, len(values)) + b"".join(values)


def numbers(kind, values):
    code, form = NUMBERS[kind]
    return items(code, [struct.pack("<" + form, value) for value in values])


def many(code, values):
    return struct.pack("<I", LIST) + items(code, values)


def gguf(metadata=None, tensors=None, version=3, counts=None, alignment=32, magic=b"GGUF"):
    """The bytes of a file: values are packed; a tensor is (axes as stored, type, place, bytes)."""
    metadata, tensors = metadata or {}, tensors or {}
    out = magic + struct.pack("<IQQ", version, *(counts or (len(tensors), len(metadata))))
    for key, value in metadata.items():
        out += text(key) + value
    data = b""
    for name, (axes, code, place, content) in tensors.items():
        out += text(name) + struct.pack(f"<I{len(axes)}QIQ", len(axes), *axes, code, place)
        if content:
            data = data.ljust(place, b"\0")[:place] + content
    return out + bytes(-len(out) % alignment) + data


def loads(data):
    return mx.load(io.BytesIO(data), return_metadata=True)


FLOATS = struct.pack("<4f", 1, 2, 3, 4)
ONE = {"x": ((2, 2), 0, 0, FLOATS)}

# ---- Arrays ----


@pytest.mark.parametrize("dtype", WRITTEN)
def test_arrays_are_written_and_read(dtype, rng, tmp_path):
    path = tmp_path / "a.gguf"
    arrays = {f"shape {shape}": exact_sample(rng, shape, dtype) for shape in SHAPES}
    mx.save_gguf(path, {key: to_mx(x) for key, x in arrays.items()}, {"π": "ü"})
    for file in (path, str(path), io.BytesIO(path.read_bytes())):
        loaded, metadata = mx.load(file, return_metadata=True)
        assert metadata == {"π": "ü"} and loaded.keys() == arrays.keys()
        for key, x in arrays.items():
            assert loaded[key].dtype == mx_dtype(dtype)
            assert_equal(loaded[key], x, key)
    assert mx.load(path).keys() == arrays.keys()


def test_layouts_and_ways_to_name_a_file(tmp_path):
    x = np.arange(24, dtype=np.float32).reshape(4, 6)
    mx.save_gguf(str(tmp_path / "a"), {"x": to_mx(x).T, "y": to_mx(x)[::-1, ::2]}, {})
    assert os.listdir(tmp_path) == ["a.gguf"]
    loaded = mx.load(tmp_path / "a.gguf")
    assert_equal(loaded["x"], x.T)
    assert_equal(loaded["y"], x[::-1, ::2])
    out = io.BytesIO()
    mx.save_gguf(file=out, arrays={"x": to_mx(x)}, metadata={})
    out.seek(0)
    assert_equal(mx.load(out, format="gguf")["x"], x)
    mx.save_gguf(tmp_path / "b.gguf", {})
    assert mx.load(tmp_path / "b.gguf", return_metadata=True) == ({}, {})


def test_files_of_others():
    for version in (2, 3):
        arrays, metadata = loads(gguf({"k": number("int32", 5)}, ONE, version))
        assert arrays["x"].tolist() == [[1, 2], [3, 4]] and metadata["k"].item() == 5
    tensors = {"a": ((1,), 0, 128, FLOATS[4:8]), "b": ((3,), 0, 0, FLOATS[:12])}
    tensors = {"b": tensors["b"], "a": tensors["a"]}
    value = {"general.alignment": number("uint32", 128)}
    arrays, metadata = loads(gguf(value, tensors, alignment=128))
    assert arrays["a"].tolist() == [2] and arrays["b"].tolist() == [1, 2, 3]
    assert metadata["general.alignment"].item() == 128


def test_an_alignment_that_is_asked_for(tmp_path):
    out = io.BytesIO()
    mx.save_gguf(
        out, {"a": mx.ones(1), "b": mx.zeros(3)}, {"general.alignment": mx.array(64, mx.uint32)}
    )
    assert len(out.getvalue()) % 64 == 0
    assert loads(out.getvalue())[0]["b"].tolist() == [0, 0, 0]


# ---- Metadata ----


def test_metadata_of_all_types():
    values = {kind: number(kind, 1) for kind in NUMBERS}
    values |= {f"{kind}s": struct.pack("<I", LIST) + numbers(kind, [0, 1, 1]) for kind in NUMBERS}
    values |= {
        "text": struct.pack("<I", TEXT) + text("π"),
        "no text": struct.pack("<I", TEXT) + text(""),
        "no UTF-8": struct.pack("<I", TEXT) + text(b"a\xff"),
        "texts": many(TEXT, [text("a"), text("")]),
        "nothing": many(TEXT, []),
        "no numbers": many(5, []),
        "nested": many(LIST, [numbers("int16", [1, 2]), items(TEXT, [text("b")]), items(LIST, [])]),
    }
    metadata = loads(gguf(values))[1]
    assert metadata.keys() == values.keys()
    for kind in NUMBERS:
        assert metadata[kind].dtype == metadata[f"{kind}s"].dtype == mx_dtype(kind)
        assert metadata[kind].shape == () and metadata[kind].item() == 1
        assert metadata[f"{kind}s"].tolist() == [0, 1, 1]
    assert (
        metadata["text"] == "π" and metadata["no text"] == "" and metadata["no UTF-8"] == "a\\xff"
    )
    assert metadata["texts"] == ["a", ""] and metadata["nothing"] == []
    assert metadata["no numbers"].shape == (0,)
    nested = metadata["nested"]
    assert nested[0].tolist() == [1, 2] and nested[1:] == [["b"], []]


def test_metadata_is_written_as_it_was_read():
    values = {kind: number(kind, 1) for kind in NUMBERS}
    values |= {f"{kind}s": struct.pack("<I", LIST) + numbers(kind, [0, 1, 1]) for kind in NUMBERS}
    values["texts"] = many(TEXT, [text("a"), text("")])
    values["nested"] = many(LIST, [numbers("int16", [1, 2]), items(TEXT, [text("b")])])
    whole = gguf(dict(sorted(values.items())), ONE)
    arrays, metadata = loads(whole)
    out = io.BytesIO()
    mx.save_gguf(out, arrays, metadata)
    assert out.getvalue() == whole.ljust(len(out.getvalue()), b"\0")


def test_a_bool_is_true_or_false():
    data = gguf({"k": struct.pack("<I", LIST) + items(7, [b"\0", b"\x02"])})
    value = loads(data)[1]["k"]
    assert value.tolist() == [False, True] and value.astype(mx.int32).sum().item() == 1


@pytest.mark.parametrize(
    ("arrays", "metadata", "error", "says"),
    [
        ({"x": 5}, {}, TypeError, "save_gguf: 'x' is to be an array, got int"),
        ([], {}, TypeError, "save_gguf: arrays is to be a dict of arrays, got list"),
        ({5: 5}, {}, TypeError, "save_gguf: a name is to be a str, got int"),
        ({}, [], TypeError, "save_gguf: metadata is to be a dict, got list"),
        ({}, {"k": 5}, TypeError, "save_gguf: metadata 'k' is to be an array, a str or a list"),
        (
            {},
            {"k": [None]},
            TypeError,
            "save_gguf: metadata 'k' is to be an array, a str or a list",
        ),
        ({}, {"k": mx.ones((1, 1))}, ValueError, r"metadata 'k' has shape \(1, 1\)"),
        ({}, {"k": mx.ones(1, mx.float16)}, ValueError, "metadata 'k' is of float16"),
        ({}, {"k": [mx.array(1)]}, ValueError, "numbers of a list are to be one array"),
        ({}, {"k": ["a", ["b"]]}, ValueError, "a list of texts and others"),
        ({}, {"k": ["a\ud800"]}, ValueError, "surrogate"),
        (
            {},
            {"general.alignment": mx.array(3, mx.uint32)},
            ValueError,
            "save_gguf: .*power of two",
        ),
        ({"x": mx.ones(1, mx.bool_)}, {}, ValueError, "'x' is of bool, which GGUF has not"),
        ({"x": mx.ones(1, mx.uint32)}, {}, ValueError, "'x' is of uint32"),
        ({"x": mx.ones(1, mx.complex64)}, {}, ValueError, "'x' is of complex64"),
    ],
)
def test_what_cannot_be_written(arrays, metadata, error, says, tmp_path):
    with pytest.raises(error, match=says):
        mx.save_gguf(tmp_path / "a.gguf", arrays, metadata)
    assert os.listdir(tmp_path) == []


def test_lists_within_themselves():
    endless = []
    endless.append(endless)
    deep = ["a"]
    for _ in range(20):
        deep = [deep]
    for value, error in ((endless, TypeError), (deep, ValueError)):
        with pytest.raises(error, match="save_gguf: metadata 'k'"):
            mx.save_gguf(io.BytesIO(), {}, {"k": value})


# ---- Blocks ----

BLOCKS = {  # code, elements, bytes, where the block has float16 numbers
    "Q4_0": (2, 32, 18, (0,)),
    "Q4_1": (3, 32, 20, (0, 2)),
    "Q5_0": (6, 32, 22, (0,)),
    "Q5_1": (7, 32, 24, (0, 2)),
    "Q8_0": (8, 32, 34, (0,)),
    "Q2_K": (10, 256, 84, (80, 82)),
    "Q3_K": (11, 256, 110, (108,)),
    "Q4_K": (12, 256, 144, (0, 2)),
    "Q5_K": (13, 256, 176, (0, 2)),
    "Q6_K": (14, 256, 210, (208,)),
    "IQ4_NL": (20, 32, 18, (0,)),
    "IQ4_XS": (23, 256, 136, (0,)),
    "MXFP4": (39, 32, 17, ()),
    "NVFP4": (40, 64, 36, ()),
}
AFFINE = {"Q4_0": 4, "Q4_1": 4, "Q5_0": 5, "Q5_1": 5, "Q8_0": 8}
MODES = {"MXFP4": "mxfp4", "NVFP4": "nvfp4"}


def blocks(kind, rng, *shape):
    """Random bytes for a tensor, with sane scales, and what `gguf` has for such a tensor."""
    code, elements, size, halves = BLOCKS[kind]
    data = rng.integers(0, 256, (*shape[:-1], shape[-1] // elements, size), np.uint8)
    for at in halves:
        scales = (rng.standard_normal(data.shape[:-1]) / 64).astype(np.float16)
        data[..., at : at + 2] = scales[..., None].view(np.uint8)
    if kind == "MXFP4":
        data[..., 0] = rng.integers(110, 130, data.shape[:-1])
    return data, (shape[::-1], code, 0, data.tobytes())


def values_of(arrays, kind, name="w"):
    """What the array of blocks stands for, exactly where it is packed."""
    array = arrays[f"{name}.weight"]
    if kind in MODES:
        assert set(arrays) == {f"{name}.weight", f"{name}.scales"}
        return mx.dequantize(array, arrays[f"{name}.scales"], mode=MODES[kind], dtype=mx.float32)
    if kind not in AFFINE:
        assert set(arrays) == {f"{name}.weight"} and array.dtype == mx.float16
        return array
    assert set(arrays) == {f"{name}.weight", f"{name}.scales", f"{name}.biases"}
    scales, biases = arrays[f"{name}.scales"], arrays[f"{name}.biases"]
    assert array.dtype == mx.uint32 and scales.dtype == biases.dtype == mx.float16
    scales, biases = scales.astype(mx.float32), biases.astype(mx.float32)
    return mx.dequantize(array, scales, biases, group_size=32, bits=AFFINE[kind])


@pytest.mark.parametrize("kind", BLOCKS)
def test_blocks_have_the_values_of_the_reference(kind, rng):
    reference = pytest.importorskip("gguf")
    data, tensor = blocks(kind, rng, 3, 2, 512)
    arrays, _ = loads(gguf(None, {"w.weight": tensor}))
    of = reference.GGMLQuantizationType[kind]
    want = reference.dequantize(data.reshape(3, 2, -1), of)
    got = to_np(values_of(arrays, kind))
    assert_equal(got, want.astype(got.dtype))


def test_the_values_of_simple_blocks():
    """By the formulas, for where the package is not."""
    quants, half = np.arange(32) % 16, np.float16
    nibbles = (quants[:16] | quants[16:] << 4).astype(np.uint8).tobytes()
    d, m = half(0.5).tobytes(), half(-3).tobytes()
    fifths = struct.pack("<I", 0xF0F0F0F0)
    five = quants + 16 * (0xF0F0F0F0 >> np.arange(32) & 1)
    signed = np.arange(-16, 16, dtype=np.int8)
    uneven = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
    for kind, block, want in (
        ("Q4_0", d + nibbles, (quants - 8) / 2),
        ("Q4_1", d + m + nibbles, quants / 2 - 3),
        ("Q5_0", d + fifths + nibbles, (five - 16) / 2),
        ("Q5_1", d + m + fifths + nibbles, five / 2 - 3),
        ("Q8_0", d + signed.tobytes(), signed / 2),
        ("IQ4_NL", d + nibbles, np.array(uneven)[quants] / 2),
    ):
        tensor = ((32, 1), BLOCKS[kind][0], 0, block)
        arrays, _ = loads(gguf(None, {"w.weight": tensor}))
        assert_equal(values_of(arrays, kind).astype(mx.float32), want[None], kind)
    q8_k = struct.pack("<f", 0.25) + np.arange(-128, 128, dtype=np.int8).tobytes() + bytes(32)
    got = loads(gguf(None, {"w": ((256,), 15, 0, q8_k)}))[0]["w"]
    assert_equal(got, np.arange(-128, 128).astype(np.float16) / 4)


@pytest.mark.parametrize("kind", [*AFFINE, *MODES])
def test_packed_blocks_are_taken_by_products_as_they_are(kind, rng):
    _, tensor = blocks(kind, rng, 8, 128)
    arrays, _ = loads(gguf(None, {"w.weight": tensor}))
    x = mx.array(rng.standard_normal((3, 128)).astype(np.float32))
    want = x @ values_of(arrays, kind).T
    if kind in MODES:
        got = mx.quantized_matmul(x, arrays["w.weight"], arrays["w.scales"], mode=MODES[kind])
    else:
        parts = [arrays[f"w.{part}"].astype(mx.float32) for part in ("scales", "biases")]
        got = mx.quantized_matmul(x, arrays["w.weight"], *parts, group_size=32, bits=AFFINE[kind])
    assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_names_beside_packed_blocks(rng):
    for name, beside in (("w.weight", "w"), ("weight", "weight"), ("longername", "longername")):
        arrays, _ = loads(gguf(None, {name: blocks("Q4_0", rng, 32)[1]}))
        assert set(arrays) == {name, f"{beside}.scales", f"{beside}.biases"}
    axes, code, _, data = blocks("Q4_0", rng, 32)[1]
    tensors = {"w.weight": (axes, code, 0, data), "w.scales": ((4,), 0, 32, FLOATS)}
    with pytest.raises(ValueError, match=r"two arrays are called 'w.scales'"):
        loads(gguf(None, tensors))


def test_blocks_of_no_elements():
    for kind in BLOCKS:
        tensor = ((BLOCKS[kind][1], 0), BLOCKS[kind][0], 0, b"")
        arrays, _ = loads(gguf(None, {"w.weight": tensor}))
        assert values_of(arrays, kind).shape == (0, BLOCKS[kind][1])


@pytest.mark.parametrize("kind", ["Q5_1", "Q6_K"])
def test_blocks_of_large_files_are_read_in_pieces(kind, rng, tmp_path):
    path = tmp_path / "a.gguf"
    _, tensor = blocks(kind, rng, 10_000, 1024)
    path.write_bytes(gguf(None, {"w.weight": tensor}))
    lazy = mx.load(path)
    assert not os.path.exists("/proc/self/fd") or f"'{path}'" in mx.explain(lazy["w.weight"])
    at_once, _ = loads(path.read_bytes())
    assert lazy.keys() == at_once.keys()
    for key in lazy:
        assert mx.array_equal(lazy[key], at_once[key]).item()


# ---- Laziness ----


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="reads /proc")
def test_using_one_tensor_of_a_large_file_reads_that_tensor(tmp_path):
    def bytes_read():
        with open("/proc/self/io") as file:
            return int(dict(line.split(":") for line in file)["rchar"])

    path = tmp_path / "large.gguf"
    header = gguf(
        {"texts": many(TEXT, [text(str(i)) for i in range(1000)])},
        {
            "large": ((2**31,), 0, 0, b""),  # 8 GiB
            "halves": ((256, 1000), 14, 2**33, b""),  # Q6_K
            "packed.weight": ((32, 100_000), 2, 2**33 + 2**20, b""),  # Q4_0
            "small": ((1000,), 0, 2**33 + 2**22, b""),
        },
    )
    header = header[: header.rindex(b"small") + 64]
    with open(path, "wb") as file:  # sparse: it takes no space
        file.write(header)
        file.truncate(10 * 2**30)
    before = bytes_read()
    arrays = mx.load(path)
    assert arrays["large"].shape == (2**31,) and arrays["packed.scales"].shape == (100_000, 1)
    assert bytes_read() - before < 2 * len(header) + 2**18
    for name, size in (
        ("small", 4000),
        ("halves", 210 * 1000),
        ("packed.weight", 18 * 100_000),
        ("packed.scales", 18 * 100_000),
    ):
        before = bytes_read()
        mx.eval(arrays[name])
        assert size <= bytes_read() - before < size + 2**16, name
        assert not arrays[name].any().item()


# ---- What is wrong ----

HUGE = 2**64 - 1
BROKEN = {
    "nothing": b"",
    "another file": gguf(magic=b"GGML"),
    "version 1": gguf(version=1),
    "version 4": gguf(version=4),
    "a big-endian file": b"GGUF" + struct.pack(">IQQ", 3, 0, 0),
    "no counts": gguf()[:20],
    "more tensors than there are": gguf(counts=(1, 0)),
    "more metadata than there is": gguf(counts=(0, 1)),
    "tensors without number": gguf(counts=(HUGE, 0)),
    "metadata without number": gguf(counts=(0, HUGE)),
    "a text beyond the end": gguf({"k": struct.pack("<IQ", TEXT, HUGE)}),
    "a list beyond the end": gguf({"k": struct.pack("<IIQ", LIST, 5, 2**62)}),
    "texts beyond the end": gguf({"k": struct.pack("<IIQ", LIST, TEXT, 2**61)}),
    "lists nested deep": gguf({"k": struct.pack("<I", LIST) + struct.pack("<IQ", LIST, 1) * 10**5}),
    "metadata of an unknown type": gguf({"k": struct.pack("<IQ", 13, 0)}),
    "a list of an unknown type": gguf({"k": struct.pack("<IIQQ", LIST, 99, 1, 0)}),
    "an alignment of 0": gguf({"general.alignment": number("uint32", 0)}),
    "an alignment of 2**22": gguf({"general.alignment": number("uint32", 2**22)}),
    "an alignment of 24": gguf({"general.alignment": number("uint32", 24)}),
    "an alignment that is a text": gguf(
        {"general.alignment": struct.pack("<I", TEXT) + text("32")}
    ),
    "metadata twice": gguf({"k": number("int8", 1), "other": number("int8", 1)}).replace(
        text("other"), text("k")
    ),
    "a tensor twice": gguf(
        None, {"x": ((1,), 0, 0, FLOATS), "other": ((1,), 0, 32, FLOATS)}
    ).replace(text("other"), text("x")),
    "elements of an unknown type": gguf(None, {"x": ((4,), 77, 0, FLOATS)}),
    "elements of IQ2_XXS": gguf(None, {"x": ((256,), 16, 0, bytes(66))}),
    "elements of TQ1_0": gguf(None, {"x": ((256,), 34, 0, bytes(54))}),
    "a negative size": gguf(None, {"x": ((2**63,), 0, 0, FLOATS)}),
    "a size that overflows": gguf(None, {"x": ((2**32, 2**32), 0, 0, FLOATS)}),
    "bytes that overflow": gguf(None, {"x": ((2**61,), 24, 0, FLOATS)}),
    "axes without number": gguf(None, {"x": ((2,), 0, 0, FLOATS)}).replace(
        text("x") + struct.pack("<I", 1), text("x") + struct.pack("<I", 2**31)
    ),
    "a row that is no whole block": gguf(None, {"x": ((40, 4), 2, 0, bytes(90))}),
    "blocks without an axis": gguf(None, {"x": ((), 2, 0, bytes(18))}),
    "a tensor beyond the end": gguf(None, {"x": ((4,), 0, 2**40, b"")})[:128],
    "a tensor cut short": gguf(None, {"x": ((5,), 0, 0, FLOATS)}),
    "a place that is not aligned": gguf(None, {"x": ((2,), 0, 8, FLOATS)}),
    "tensors that overlap": gguf(None, {"x": ((4,), 0, 0, FLOATS), "y": ((1,), 0, 0, FLOATS)}),
}
SAYS = {
    "a big-endian file": "big-endian",
    "version 1": "version 1 is not supported",
    "elements of IQ2_XXS": "tensor 'x': elements of type IQ2_XXS are not supported",
    "elements of TQ1_0": "elements of type TQ1_0",
    "elements of an unknown type": "type 77",
    "a row that is no whole block": "rows of 40 elements are not whole blocks of Q4_0",
    "tensors that overlap": "'x' and 'y' overlap",
    "a tensor cut short": "tensor 'x': 20 bytes at 0 lie outside",
    "lists nested deep": "nested too deep",
}


@pytest.mark.parametrize("name", BROKEN)
def test_malformed_files_are_named(name, tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(BROKEN[name])
    for file in (path, io.BytesIO(BROKEN[name])):
        with pytest.raises(
            ValueError, match="broken" if file is path else SAYS.get(name, "load: ")
        ):
            mx.load(file, format="gguf")


def test_files_cut_anywhere_are_named(tmp_path):
    out, path = io.BytesIO(), tmp_path / "broken.gguf"
    mx.save_gguf(out, {"x": mx.arange(100.0)}, {"k": "v", "l": ["a", "b"], "n": mx.array([1, 2])})
    whole = out.getvalue()
    for size in range(0, len(whole) - 16, 3):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="broken"):
            mx.load(path)


def test_random_bytes_never_crash(rng):
    metadata = {"k": struct.pack("<I", LIST) + numbers("float64", [1, 2])}
    metadata["t"] = many(LIST, [items(TEXT, [text("b")])])
    seeds = [gguf(metadata, {"w.weight": blocks(kind, rng, 256)[1]}) for kind in BLOCKS]
    for data in (*seeds, gguf(metadata, ONE)):
        for at in rng.integers(0, len(data), 100):
            changed = bytearray(data)
            changed[at] = rng.integers(0, 256)
            with suppress(ValueError):
                mx.eval(loads(bytes(changed)))


# ---- The package ----


def test_the_package_reads_what_is_written(tmp_path, rng):
    reference = pytest.importorskip("gguf")
    path = tmp_path / "a.gguf"
    arrays = {name: exact_sample(rng, (2, 3, 4), name) for name in WRITTEN}
    arrays["scalar"] = np.float32(3)
    metadata = {
        "general.architecture": "llama",
        "tokens": ["a", "ü", ""],
        "count": mx.array(7, mx.uint32),
        "scores": mx.array([1.5, -2]),
        "nested": [mx.array([1, 2]), mx.array([3])],
    }
    mx.save_gguf(path, {name: to_mx(x) for name, x in arrays.items()}, metadata)
    reader = reference.GGUFReader(path)
    assert [t.name for t in reader.tensors] == sorted(arrays)
    for tensor in reader.tensors:
        x = arrays[tensor.name]
        assert tensor.shape.tolist() == list(x.shape[::-1])
        assert tensor.data_offset % 32 == 0
        assert_equal(tensor.data.tobytes(), x.tobytes(), tensor.name)
    for key, want in (("general.architecture", "llama"), ("tokens", ["a", "ü", ""]), ("count", 7)):
        assert reader.get_field(key).contents() == want
    assert reader.get_field("scores").contents() == [1.5, -2]


def test_what_the_package_writes_is_read(tmp_path, rng):
    reference = pytest.importorskip("gguf")
    path = tmp_path / "a.gguf"
    writer = reference.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_block_count(3)
    writer.add_array("tokens", ["a", "b"])
    writer.add_array("nested", [[1, 2], [3]])
    writer.add_float64("eps", 1e-5)
    x = rng.standard_normal((4, 512)).astype(np.float32)
    writer.add_tensor("x", x)
    quantized = reference.quantize(x, reference.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q.weight", quantized, raw_dtype=reference.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    arrays, metadata = mx.load(path, return_metadata=True)
    assert_equal(arrays["x"], x)
    assert_close(
        values_of({k: a for k, a in arrays.items() if k != "x"}, "Q8_0", "q"), x, atol=0.03
    )
    assert metadata["general.architecture"] == "llama" and metadata["llama.block_count"].item() == 3
    assert metadata["tokens"] == ["a", "b"] and metadata["eps"].item() == 1e-5
    assert [value.tolist() for value in metadata["nested"]] == [[1, 2], [3]]
