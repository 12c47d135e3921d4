"""What is loaded is lazy, and its file may change meanwhile."""

import errno
import gc
import os
import resource
import struct

import numpy as np
import pytest
from conftest import assert_close, assert_equal
from test_io import safetensors, tensor

import cermet.core as mx

LARGE = np.arange(3_000_000, dtype=np.float32)  # read in pieces
WRITES = {
    "npy": lambda path, x: np.save(path, x),
    "npz": lambda path, x: np.savez(path, x=x),
    "safetensors": lambda path, x: mx.save_safetensors(path, {"x": mx.array(x)}),
    "gguf": lambda path, x: mx.save_gguf(path, {"x": mx.array(x)}, {}),
}


@pytest.fixture(params=WRITES)
def loaded(request, tmp_path):
    """A path, and a function that loads the one array, `LARGE`, of the file there."""
    path = tmp_path / f"file.{request.param}"
    WRITES[request.param](path, LARGE)

    def load():
        read = mx.load(path)
        return read["x"] if isinstance(read, dict) else read

    return path, load


def open_files(path):
    folder = "/proc/self/fd"
    names = [os.path.join(folder, name) for name in os.listdir(folder)]
    return sum(os.readlink(name).startswith(str(path)) for name in names if os.path.islink(name))


def test_what_is_loaded_is_lazy(loaded):
    path, load = loaded
    gc.collect()
    before = mx.get_active_memory()
    x = load()
    assert mx.get_active_memory() == before
    assert f"load file='{path}'" in mx.explain(x)
    mx.eval(x)
    assert mx.get_active_memory() - before >= LARGE.nbytes
    assert_equal(x, LARGE)


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="reads /proc")
def test_a_file_is_read_in_large_pieces(loaded):
    def reads():
        with open("/proc/self/io") as file:
            return int(dict(line.split(":") for line in file)["syscr"])

    before = reads()
    mx.eval(loaded[1]())
    assert reads() - before < 200


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="reads /proc")
def test_a_file_is_closed_with_its_last_array(tmp_path):
    path = tmp_path / "a.safetensors"
    mx.save_safetensors(path, {name: mx.arange(50_000) for name in "abc"})
    arrays = mx.load(path)
    assert open_files(path) == 1
    mx.eval(arrays["a"], arrays.pop("b"))
    assert open_files(path) == 1
    del arrays
    gc.collect()
    assert open_files(path) == 0


def test_many_small_files_are_not_many_open_ones(tmp_path):
    for i in range(3):
        mx.save(tmp_path / f"{i}.npy", mx.full((1000,), i))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 2 * min(limit[0], 4096)
    arrays = [mx.load(tmp_path / f"{i % 3}.npy") for i in range(count)]
    assert mx.stack(arrays[-3:]).sum().item() == 3000


def test_what_is_loaded_takes_part_in_the_graph(loaded):
    _, load = loaded
    x = LARGE / LARGE.max()
    at = mx.array(np.float32(0.5))

    def f(t):
        return (load() * t / LARGE.max()).sum()

    assert_close(mx.grad(f)(at), x.sum())
    assert_close(mx.jvp(f, [at], [at])[1][0], x.sum() / 2)
    assert mx.compile(f)(at).item() == f(at).item()
    mapped = mx.vmap(lambda t: load()[:10] + t)(mx.arange(3.0))
    assert_equal(mapped, LARGE[None, :10] + np.arange(3)[:, None])
    halves = load().astype(mx.bfloat16)
    assert mx.array_equal(halves, mx.array(LARGE).astype(mx.bfloat16)).item()
    updated = load()
    updated[5] = -1
    assert updated[5].item() == -1 and load()[5].item() == 5
    y = load()
    mx.async_eval(y)
    assert_equal(y, LARGE)


def test_an_array_that_is_loaded_for_a_stream(loaded):
    path, _ = loaded
    x = mx.load(path, stream=mx.new_stream(mx.cpu))
    assert_equal(x["x"] if isinstance(x, dict) else x, LARGE)


@pytest.mark.parametrize("change", ["cut", "empty", "other bytes", "as long and old", "touched"])
def test_a_file_that_has_changed_is_an_error_of_its_arrays(change, loaded):
    path, load = loaded
    content, times = path.read_bytes(), path.stat()
    restored = (times.st_atime_ns, times.st_mtime_ns)
    x, kept = load(), load()
    mx.eval(kept)
    if change == "touched":
        os.utime(path, ns=(0, 0))
    elif change == "as long and old":
        path.write_bytes(bytes(len(content)))  # in the same tick of the clock, say
    else:
        path.write_bytes({"cut": content[:100_000], "empty": b""}.get(change, content * 2))
    for _ in range(2):
        with pytest.raises(OSError, match="has changed since it was loaded") as error:
            mx.eval(x + 1)
        assert error.value.errno == errno.ESTALE and error.value.filename == str(path)
    assert_equal(kept, LARGE)
    path.write_bytes(content)
    os.utime(path, ns=restored)
    assert_equal(x, LARGE)  # it can be asked for again


def test_a_file_just_written_is_seen_to_change(tmp_path):
    path = tmp_path / "a.npy"
    for i in range(20):
        path.write_bytes(b"")
        with open(path, "r+b") as file:
            np.save(file, np.full(20_000, i))
            file.flush()
            x = mx.load(path)
            file.seek(1000)
            file.write(b"other")
        with pytest.raises(OSError, match="has changed"):
            mx.eval(x)


def test_an_error_names_the_tensor(tmp_path):
    path = tmp_path / "a.safetensors"
    mx.save_safetensors(path, {"layers.0.weight": mx.arange(100_000)})
    x = mx.load(path)["layers.0.weight"]
    os.truncate(path, 1000)
    with pytest.raises(OSError, match=r"load.*'layers.0.weight'.*1000 bytes, \d+ expected"):
        mx.eval(x)


def test_a_file_may_be_removed_or_replaced(loaded):
    path, load = loaded
    x, y = load(), load()
    WRITES[path.suffix[1:]](path.with_suffix(".new" + path.suffix), LARGE + 1)
    os.replace(path.with_suffix(".new" + path.suffix), path)
    assert_equal(x, LARGE)
    assert_equal(load(), LARGE + 1)
    path.unlink()
    assert_equal(y, LARGE)


def test_there_may_be_no_memory_for_it(loaded):
    _, load = loaded
    x = load()
    mx.clear_cache()
    limit = mx.set_memory_limit(mx.get_active_memory() + LARGE.nbytes // 2)
    try:
        with pytest.raises(MemoryError, match="load"):
            mx.eval(x)
    finally:
        mx.set_memory_limit(limit)
    assert_equal(x, LARGE)


def test_large_arrays_of_all_layouts(tmp_path):
    path = tmp_path / "a.npy"
    for x in (
        np.asfortranarray(LARGE.reshape(1500, 2000)),
        LARGE.astype(">f8"),
        (LARGE + 1j).astype(">c8"),
        LARGE % 2 == 0,
    ):
        np.save(path, x)
        assert_equal(mx.load(path), x.astype(x.dtype.newbyteorder("=")))
    odd = struct.pack("<3B", 0, 7, 1) + LARGE.tobytes()
    header = {"b": tensor("BOOL", [3], 0), "x": tensor("F32", [LARGE.size], 3)}
    (tmp_path / "a.safetensors").write_bytes(safetensors(header, odd))
    loaded = mx.load(tmp_path / "a.safetensors")
    assert loaded["b"].tolist() == [False, True, True] and loaded["b"].sum().item() == 2
    assert_equal(loaded["x"], LARGE)
