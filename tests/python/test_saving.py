"""Files are replaced whole or not at all; errors of the system are OSError."""

import errno
import io
import os
import resource
import signal
import stat
import subprocess
import sys
import threading
import zipfile

import numpy as np
import pytest

import cermet.core as mx
import cermet.nn as nn


def save_weights(path, x):
    module = nn.Module()
    module.x = x
    module.save_weights(path)


SAVES = {
    "npy": lambda path, x: mx.save(path, x),
    "npz": lambda path, x: mx.savez(path, x=x),
    "compressed.npz": lambda path, x: mx.savez_compressed(path, x=x),
    "safetensors": lambda path, x: mx.save_safetensors(path, {"x": x}),
    "gguf": lambda path, x: mx.save_gguf(path, {"x": x}, {"k": "v"}),
    "weights.safetensors": lambda path, x: save_weights(path, x),
    "weights.npz": lambda path, x: save_weights(path, x),
}
OLD, NEW = np.arange(30_000, dtype=np.float32), np.random.default_rng(0).random(50_000)


def values(path):
    loaded = mx.load(path)
    return np.array(loaded if isinstance(loaded, mx.array) else loaded["x"])


@pytest.fixture(params=SAVES)
def saved(request, tmp_path):
    """A path where a file lies, and what writes such a file."""
    path = tmp_path / f"file.{request.param}"
    SAVES[request.param](path, mx.array(OLD))
    return path, SAVES[request.param]


def check_old(path):
    assert np.array_equal(values(path), OLD)
    assert os.listdir(path.parent) == [path.name]


def in_child(work):
    """Whether `work` succeeds in a forked process, which may change itself for it."""
    process = os.fork()
    if process == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0


def test_the_last_file_saved_is_there(saved):
    path, save = saved
    save(path, mx.array(NEW))
    assert np.array_equal(values(path), NEW.astype(np.float32))
    assert os.listdir(path.parent) == [path.name]


def test_what_was_loaded_can_be_saved_in_its_place(saved):
    path, save = saved
    loaded = mx.load(path)
    x = loaded if isinstance(loaded, mx.array) else loaded["x"]
    save(path, x + 1)
    assert np.array_equal(values(path), OLD + 1)
    assert np.array_equal(np.array(x), OLD)


def test_a_disk_that_is_full(saved):
    path, save = saved
    new = mx.array(NEW)

    def work():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
        with pytest.raises(OSError, match=r"save.*file\.") as error:
            save(path, new)
        return error.value.errno == errno.EFBIG and str(path) in error.value.filename

    mx.eval(new)
    assert in_child(work)
    check_old(path)


def test_an_array_that_cannot_be_computed(saved):
    path, save = saved
    broken = mx.random.normal((100,)) @ mx.zeros((100, 1 << 40))
    with pytest.raises(MemoryError):
        save(path, broken)
    check_old(path)


@pytest.mark.parametrize("moment", [0.0005, 0.002, 0.005, 0.01, 0.02])
def test_an_interrupted_save(saved, moment):
    path, save = saved
    new = mx.array(np.zeros(3_000_000, np.float32))

    def interrupt(*_):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, moment)
        save(path, new)
    except KeyboardInterrupt:
        pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if len(values(path)) == len(OLD):
        check_old(path)
    assert os.listdir(path.parent) == [path.name]


def test_an_object_whose_write_fails():
    class Full(io.RawIOBase):
        def write(self, data):
            raise OSError(errno.ENOSPC, "full")

    for save in SAVES.values():
        if "weights" not in str(save):
            with pytest.raises((OSError, TypeError)):
                save(Full(), mx.ones(3))


def test_objects_that_write_in_parts():
    class Slow(io.BytesIO):
        def write(self, data):
            return super().write(bytes(data)[:7])

    class Stuck:
        def write(self, data):
            return 0

    out = Slow()
    mx.save(out, mx.arange(10))
    assert np.load(io.BytesIO(out.getvalue())).tolist() == list(range(10))
    with pytest.raises(OSError, match="0 of"):
        mx.save(Stuck(), mx.arange(10))


def test_permissions_stay(saved):
    path, save = saved
    path.chmod(0o640)
    save(path, mx.array(NEW))
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    fresh = path.with_name(f"fresh{''.join(path.suffixes)}")
    before = os.umask(0o027)
    try:
        save(fresh, mx.array(NEW))
    finally:
        os.umask(before)
    assert stat.S_IMODE(fresh.stat().st_mode) == 0o640


def test_links_are_followed(saved):
    path, save = saved
    folder = path.parent / "folder"
    folder.mkdir()
    link, dangling = folder / f"link.{path.name}", folder / f"dangling.{path.name}"
    link.symlink_to(f"../{path.name}")
    dangling.symlink_to(f"new.{path.name}")
    for name in (link, dangling):
        save(name, mx.array(NEW))
        assert name.is_symlink() and len(values(name)) == len(NEW)
    assert len(values(path)) == len(NEW)
    link.unlink()
    link.symlink_to(link.name)
    with pytest.raises(OSError, match="link") as error:
        save(link, mx.array(NEW))
    assert error.value.errno == errno.ELOOP


def test_of_hard_links_the_one_named_is_replaced(saved):
    path, save = saved
    other = path.with_name(f"other.{path.name}")
    os.link(path, other)
    save(path, mx.array(NEW))
    assert len(values(path)) == len(NEW) and len(values(other)) == len(OLD)


def test_a_file_that_may_not_be_written(saved):
    path, save = saved
    new = mx.array(NEW)
    mx.eval(new)

    def refused(mode, folder_mode):
        def work():
            path.chmod(mode)
            path.parent.chmod(folder_mode)
            if os.geteuid() == 0:
                os.chown(path, 65534, 65534)
                os.chown(path.parent, 65534, 65534)
                os.chdir(path.parent)
                os.setuid(65534)
            with pytest.raises(PermissionError):
                save(path.name, new)
            return True

        return work

    at = os.getcwd()
    os.chdir(path.parent)
    try:
        assert in_child(refused(0o444, 0o755))
        assert in_child(refused(0o666, 0o555))
    finally:
        os.chdir(at)
        path.parent.chmod(0o755)
    check_old(path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device of Linux")
@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "gguf"])
def test_devices_are_written_straight(name, tmp_path):
    path = tmp_path / f"full.{name}"
    path.symlink_to("/dev/full")
    with pytest.raises(OSError, match="full") as error:
        SAVES[name](path, mx.array(NEW))
    assert error.value.errno == errno.ENOSPC
    assert stat.S_ISCHR(os.stat("/dev/full").st_mode)


@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "gguf"])
def test_pipes_are_written_straight(name, tmp_path):
    path = tmp_path / f"pipe.{name}"
    os.mkfifo(path)
    read = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    SAVES[name](path, mx.array(NEW))
    reader.join()
    (tmp_path / name).write_bytes(read[0])
    assert len(mx.load(io.BytesIO(read[0]))) in (1, len(NEW))
    with pytest.raises(ValueError, match="not a regular file"):
        mx.load(path)


def test_a_pipe_that_nobody_reads_can_be_left(tmp_path):
    path = tmp_path / "pipe.npy"
    os.mkfifo(path)
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            mx.save(path, mx.ones(3))
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            mx.save(path, mx.ones((1000, 1000)))  # more than a pipe holds
        os.close(reader)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_threads_that_save_to_one_path(saved):
    path, save = saved
    arrays = [mx.full((40_000,), i) for i in range(4)]
    mx.eval(arrays)

    def work(array):
        for _ in range(5):
            save(path, array)

    threads = [threading.Thread(target=work, args=(array,)) for array in arrays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(values(path).tolist())) == 1
    assert os.listdir(path.parent) == [path.name]


KILLED = """
import sys, numpy as np, cermet.core as mx
sys.path.insert(0, {tests!r})
from test_saving import SAVES
print("begun", flush=True)
for i in range(10**6):
    SAVES[{name!r}]({path!r}, mx.full((300_000,), i))
"""


@pytest.mark.parametrize("name", ["npy", "npz", "safetensors", "gguf"])
def test_a_killed_save_leaves_a_whole_file(name, tmp_path):
    path = tmp_path / f"file.{name}"
    SAVES[name](path, mx.full((300_000,), -1))
    code = KILLED.format(tests=os.path.dirname(__file__), name=name, path=str(path))
    for wait in (0.001, 0.01, 0.03):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            threading.Event().wait(wait)
            process.kill()
        read = values(path)
        assert len(read) == 300_000 and len(set(read.tolist())) == 1


# Errors


@pytest.mark.parametrize("extension", ["npy", "npz", "safetensors", "gguf"])
def test_errors_of_the_system(extension, tmp_path):
    def loads(path):
        return lambda: mx.load(path, format=extension)

    def saves(path):
        return lambda: SAVES[extension](path, mx.ones(3))

    folder = tmp_path / f"folder.{extension}"
    folder.mkdir()
    file = tmp_path / "file"
    file.touch()
    long = "x" * 300
    for call, kind, code in (
        (loads(tmp_path / "missing"), FileNotFoundError, errno.ENOENT),
        (loads(folder), IsADirectoryError, errno.EISDIR),
        (loads(file / "below"), NotADirectoryError, errno.ENOTDIR),
        (loads(tmp_path / long), OSError, errno.ENAMETOOLONG),
        (saves(tmp_path / "missing" / "file"), FileNotFoundError, errno.ENOENT),
        (saves(folder), IsADirectoryError, errno.EISDIR),
        (saves(file / "below"), NotADirectoryError, errno.ENOTDIR),
        (saves(tmp_path / long), OSError, errno.ENAMETOOLONG),
    ):
        with pytest.raises(kind, match=f"load|save|{os.strerror(code)}") as error:
            call()
        assert error.value.errno == code
        assert str(tmp_path) in error.value.filename


def test_names_of_files(tmp_path):
    class Path:
        def __fspath__(self):
            return os.fsencode(tmp_path / "like.npy")

    for path in (str(tmp_path / "a.npy"), tmp_path / "b.npy", os.fsencode(tmp_path / "c"), Path()):
        mx.save(path, mx.arange(3))
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "b.npy", "c.npy", "like.npy"]
    module = nn.Linear(2, 2)
    module.save_weights(os.fsencode(tmp_path / "d.npz"))
    assert module.load_weights(tmp_path / "d.npz") is module
    strange = os.fsencode(tmp_path) + b"/\xff\xfe.npz"  # no UTF-8
    mx.savez(strange, x=mx.arange(3))
    for path in (strange, os.fsdecode(strange)):
        assert mx.load(path)["x"].tolist() == [0, 1, 2]
    with open(os.fsdecode(strange), "w") as file:
        file.write("nothing")
    with pytest.raises(ValueError, match="not a whole npz"):
        mx.load(strange)
    with pytest.raises(FileNotFoundError):
        mx.load(strange + b".npy")
    for name in ("a\0b.npz", "a\ud800.npz"):
        for call in (mx.load, mx.savez):
            with pytest.raises(ValueError):
                call(str(tmp_path / name))
    for name in (5, None, 1.5, ["a.npz"]):
        for call in (mx.load, mx.savez, lambda f: mx.save(f, mx.ones(1))):
            with pytest.raises(TypeError, match=r"a path or an object|incompatible"):
                call(name)


def test_text_files(tmp_path):
    path = tmp_path / "a.npy"
    mx.save(path, mx.ones(3))
    with pytest.raises(TypeError, match="binary mode"):
        mx.load(io.StringIO("text"))
    for save in (SAVES["npy"], SAVES["npz"], SAVES["safetensors"], SAVES["gguf"]):
        with open(tmp_path / "b", "w") as file, pytest.raises(TypeError, match="str, not bytes"):
            save(file, mx.ones(3))


def test_what_cannot_be_saved(tmp_path):
    path = tmp_path / "file"
    for call, kind, says in (
        (lambda: mx.savez(path, 5), TypeError, "savez: 'arr_0' is to be an array, got int"),
        (lambda: mx.savez(path, a=[1]), TypeError, "'a' is to be an array, got list"),
        (lambda: mx.savez(path, mx.ones(1), arr_0=mx.ones(1)), ValueError, "two arrays"),
        (lambda: mx.savez(path, **{"../a": mx.ones(1)}), ValueError, "leads out"),
        (lambda: mx.savez(path, **{"a\0b": mx.ones(1)}), ValueError, "savez: 'a"),
        (lambda: mx.save_safetensors(path, [mx.ones(1)]), TypeError, "a dict of arrays, got list"),
        (lambda: mx.save_safetensors(path, {1: mx.ones(1)}), TypeError, "to be a str, got int"),
        (lambda: mx.save_safetensors(path, {"a": 1}), TypeError, "'a' is to be an array, got int"),
        (lambda: mx.save_safetensors(path, {"a\ud800": mx.ones(1)}), ValueError, "surrogate"),
        (lambda: mx.save_safetensors(path, {}, {"a": 1}), TypeError, "to be a str, got int"),
        (
            lambda: mx.save_safetensors(path, {"__metadata__": mx.ones(1)}),
            ValueError,
            "no array can have the name '__metadata__'",
        ),
    ):
        with pytest.raises(kind, match=says):
            call()
        assert os.listdir(tmp_path) == []


def test_more_arrays_than_a_small_directory_counts(tmp_path):
    path = tmp_path / "many.npz"
    module = nn.Module()
    module.x = [mx.array(i) for i in range(70_000)]
    module.save_weights(path)
    loaded = mx.load(path)
    assert len(loaded) == 70_000 and loaded["x.69999"].item() == 69_999
    with zipfile.ZipFile(path) as archive:
        assert len(archive.namelist()) == 70_000
    assert np.load(path)["x.12345"] == 12345
