"""`cermet.as_mlx`: programs, packages and pickles written for MLX find Cermet under its names.

What an import changes is tried in processes of its own.
"""

import base64
import os
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import pytest

import cermet
import cermet.core as mx

SITE = str(Path(cermet.__file__).parents[1])
SIMULATOR = hasattr(mx, "simulator") and mx.simulator.compiler_available()


def run(*arguments, cwd=None, **variables):
    """What Python prints, or the last line of its error. The path is Cermet's and `cwd`."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("CERMET_METAL")}
    environment |= {"PYTHONPATH": os.pathsep.join([SITE, str(cwd or "")]), **variables}
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.stdout if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


def run_text(program, cwd=None, **variables):
    return run("-c", textwrap.dedent(program), cwd=cwd, **variables)


def test_modules_are_the_same():
    program = """
        import cermet.as_mlx
        import mlx, mlx.core as mx, mlx.nn as nn, mlx.utils
        import mlx.core.fast, mlx.core.random, mlx.core.linalg, mlx.core.metal, mlx.core.cuda
        import mlx.core.distributed, mlx.nn.losses, mlx.nn.init, mlx.nn.utils, mlx.optimizers as o
        import mlx.optimizers.schedulers, mlx.extension
        from mlx import core
        from mlx.nn.layers.linear import Linear
        from mlx.nn.layers.base import Module
        from mlx.nn.layers.distributed import shard_linear
        from mlx.optimizers.optimizers import Adam
        import cermet
        assert core is mx is cermet.core and nn is cermet.nn and mx.fast is cermet.core.fast
        assert Linear is cermet.nn.Linear and Adam is o.Adam and mlx.extension is cermet.extension
        """
    assert run_text(program) == ""


def test_names_are_those_of_mlx():
    program = """
        import cermet.as_mlx
        import importlib.metadata as metadata, pickle
        import mlx, mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
        print(mx.float32, repr(mx.bfloat16), mx.array, type(mx.array(1)).__module__)
        print(nn.Linear, nn.Module, optim.Adam, mx.AxisError, nn.relu.__module__)
        print(str(mx)[:17], str(nn)[:15], mx.random, mlx.utils.__name__, mx.__name__)
        print(mx.add.__module__, mx.linalg.norm.__module__, mx.fast.rms_norm.__module__)
        print(mx.__version__, metadata.version("MLX"), metadata.metadata("mlx")["Name"])
        assert pickle.loads(pickle.dumps(nn.Linear(2, 3))).weight.shape == (3, 2)
        assert pickle.loads(pickle.dumps([mx.float16, mx.arange(3)]))[0] is mx.float16
        """
    lines = run_text(program).splitlines()
    assert lines[0] == "mlx.core.float32 mlx.core.bfloat16 <class 'mlx.core.array'> mlx.core"
    assert lines[1] == (
        "<class 'mlx.nn.layers.linear.Linear'> <class 'mlx.nn.layers.base.Module'> "
        "<class 'mlx.optimizers.optimizers.Adam'> <class 'mlx.core.AxisError'> "
        "mlx.nn.layers.activations"
    )
    assert (
        lines[2]
        == "<module 'mlx.core <module 'mlx.nn <module 'mlx.core.random'> mlx.utils mlx.core"
    )
    assert lines[3] == "mlx.core mlx.core.linalg mlx.core.fast"
    version = lines[4].split()
    assert version[0] == version[1] and version[0].startswith("0.32.") and version[2] == "mlx"


def test_without_it_names_are_cermets():
    assert str(mx.float32) == "cermet.core.float32" and mx.__version__ == cermet.__version__
    assert "No module named 'mlx'" in run_text("import cermet, mlx", cwd="/")


def test_what_cermet_lacks_is_not_found():
    program = """
        import cermet.as_mlx, importlib.util
        assert importlib.util.find_spec("mlx") and importlib.util.find_spec("mlx.nn.losses")
        assert importlib.util.find_spec("mlx.nothing") is None
        assert importlib.util.find_spec("mlx.metal") is None  # which only Cermet has
        import mlx.nn.nothing
        """
    assert run_text(program) == "ModuleNotFoundError: No module named 'mlx.nn.nothing'"


@pytest.fixture
def installed(tmp_path):
    """A folder in which something else is installed as mlx, and mlx-data beside it."""
    (tmp_path / "mlx" / "data").mkdir(parents=True)
    (tmp_path / "mlx" / "core.py").write_text("is_mlx = True")
    (tmp_path / "mlx" / "other.py").write_text("")
    (tmp_path / "mlx" / "data" / "__init__.py").write_text("name = 'mlx-data'")
    info = tmp_path / "mlx-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mlx\nVersion: 0.1\n")
    return tmp_path


def test_an_installed_mlx_is_hidden(installed):
    program = """
        import cermet.as_mlx, importlib.metadata
        import mlx.core, mlx.data, cermet
        assert mlx.core is cermet.core and importlib.metadata.version("mlx") != "0.1"
        print(mlx.data.name)
        import mlx.other
        """
    assert run_text("import mlx.core; print(mlx.core.is_mlx)", cwd=installed) == "True\n"
    assert run_text(program, cwd=installed).endswith("No module named 'mlx.other'")


def test_mlx_that_is_imported_already_is_refused(installed):
    said = run_text("import mlx.core, cermet.as_mlx", cwd=installed)
    assert said == (
        "ImportError: cermet.as_mlx: MLX is imported already; import cermet.as_mlx before it"
    )


PROGRAM = """
import sys
import mlx.core as mx
if __name__ == "__main__":
    import beside
    print(mx.float32, sys.argv, beside.__name__)
    sys.exit(3 if "fail" in sys.argv else 0)
"""


def test_run_a_program(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "program.py").write_text(PROGRAM)
    (folder / "beside.py").write_text("")
    said = run("-m", "cermet.as_mlx", folder / "program.py", "-m", "x", cwd=tmp_path)
    assert said == f"mlx.core.float32 ['{folder}/program.py', '-m', 'x'] beside\n"


def test_run_a_package(tmp_path):
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__main__.py").write_text(PROGRAM)
    (tmp_path / "beside.py").write_text("")
    said = run("-m", "cermet.as_mlx", "-m", "pack", "--x", cwd=tmp_path)
    assert said == f"mlx.core.float32 ['{tmp_path}/pack/__main__.py', '--x'] beside\n"


@pytest.mark.parametrize("arguments", [[], ["-m"], ["-x", "program.py"]])
def test_usage(arguments):
    said = run("-m", "cermet.as_mlx", *arguments)
    assert said.startswith("usage: python -m cermet.as_mlx (program.py | -m package)")


def test_processes_that_it_starts(tmp_path):
    (tmp_path / "program.py").write_text(
        textwrap.dedent(
            """
            import multiprocessing, subprocess, sys
            import mlx.core as mx

            def work(n):
                return str(mx.arange(n).dtype)

            if __name__ == "__main__":
                program = "import mlx.core; print(mlx.core.float32)"
                print(subprocess.check_output([sys.executable, "-c", program], text=True).strip())
                with multiprocessing.get_context("spawn").Pool(1) as pool:
                    print(*pool.map(work, [3]))
            """
        )
    )
    said = run("-m", "cermet.as_mlx", "program.py", cwd=tmp_path)
    assert said == "mlx.core.float32\nmlx.core.int32\n"


def test_pytest(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import mlx.core as mx\ndef test(): assert str(mx.int8) == 'mlx.core.int8'\n"
    )
    said = run("-m", "pytest", "-p", "cermet.as_mlx", "-p", "no:cacheprovider", cwd=tmp_path)
    assert f"mlx: Cermet {cermet.__version__}, Device(cpu, 0); " in said and "1 passed" in said


KERNEL = """
    import cermet.as_mlx
    import mlx.core as mx
    twice = mx.fast.metal_kernel(
        name="twice", input_names=["x"], output_names=["y"],
        source="uint i = thread_position_in_grid.x; y[i] = x[i OFFSET] * 2;")
    x = mx.arange(4, dtype=mx.float32) + 1
    print(mx.default_device(), mx.metal.is_available())
    (y,) = twice(inputs=[x], output_shapes=[x.shape], output_dtypes=[x.dtype], grid=(4, 1, 1),
                 threadgroup=(4, 1, 1))
    print((y + 1).tolist())
    """


@pytest.mark.skipif(not SIMULATOR, reason="needs the simulator")
def test_metal_kernels_run_on_the_simulator():
    program = KERNEL.replace("OFFSET", "")
    assert run_text(program) == "Device(cpu, 0) True\n[3.0, 5.0, 7.0, 9.0]\n"
    said = run_text(program, CERMET_METAL="simulator")
    assert said == "Device(gpu, 0) True\n[3.0, 5.0, 7.0, 9.0]\n"


@pytest.mark.skipif(not SIMULATOR, reason="needs the simulator")
def test_metal_kernels_are_sanitised():
    said = run_text(KERNEL.replace("OFFSET", "+ 1"), CERMET_METAL_SANITIZE="1")
    assert "SanitizerError: out-of-bounds read" in said


def test_metal_kernels_without_a_gpu():
    said = run_text(KERNEL.replace("OFFSET", ""), CERMET_METAL="off")
    assert said.startswith("ValueError: metal_kernel: twice runs on a GPU") and "simulator" in said


# ---- Pickles that MLX wrote ----------------------------------------------------------------------
# Of 0.32: bfloat16 [1, -2], Linear(2, 1) with a frozen bias, SGD(0.25), cpu, floating, int64 3.
PICKLE = """
eJyNUs9v0zAUTto0S7f2gtAkbhy7AzkgDhwQO7TSJDr1MLhHTmJqi8SpHKfQSZXKYaOVngQSj7+Df4H/DJ4T2k6IDnyw
nv1++Ps+fyvv2/e2U68lDsAXLJvzEiHIsw9hUmiO0GFaswV+xbOPCKeqymeLMLKpMK8yI5ss9CLNk0KVRleJoWLo1JUI
RyrdDhg7Nzh0Y/yEVzgYu+PWDYoudFKzmHHb0qqe4mbdZNvgvsDJZPLqJ616GzsG483QW507P5DCce8WY/AzqTjTCA8t
YqXCjC24LsPttX/ZBDV8Iviey6kwKDw6ikCcWEyiv0VEmG5RPIDW22d7JOL0bzgCxyEkzm8sxxaLF0tWHhxNhwHBp5bz
XUtlRQ8iVURTzVL8jAPx5At0I6OZVFJNcV3F0C1mRubymhOdR5bl7lzeCRHary9GDU87tRfRBPqejLIprsGPSsMMr3Ne
afjsANAzS796/h/0m1Vz8Sz9fkZCW9SRtg8dGt+IsHq5E0E8XiK48/v/ZPDnk7azrOAkKhPB0yqzEiytcYucK1PleLEt
h17z6VHKE/Lh/r6bsnzGa533l4HipI4u5rgh7f2Uz2VCZFpwPKrDN41ZLcYrBO+dVKnN9kfWxUMiPi10bXa3LvDLhGXk
v3vElv8Wu32XeWCNE/4CShljCg==
"""


def test_a_pickle_that_mlx_wrote(tmp_path):
    (tmp_path / "pickle").write_bytes(zlib.decompress(base64.b64decode(PICKLE)))
    program = """
        import cermet.as_mlx, pickle
        import mlx.core as mx
        found = pickle.load(open("pickle", "rb"))
        layer, optimizer = found["linear"], found["optimizer"]
        print(found["halves"], found["scalar"].dtype, found["device"], found["kind"])
        print(layer(mx.array([3.0, 1.0])).item(), *layer.trainable_parameters())
        optimizer.update(layer, {"weight": mx.array([[4.0, 4.0]])})
        print(layer.weight.tolist(), optimizer.step.item())
        """
    assert run_text(program, cwd=tmp_path).splitlines() == [
        "array([1, -2], dtype=bfloat16) mlx.core.int64 DeviceType.cpu DtypeCategory.floating",
        "1.5 weight",
        "[[0.0, -3.0]] 1",
    ]


def test_state_of_pickles_that_mlx_wrote():
    import numpy

    names = "bool_ uint8 uint16 uint32 uint64 int8 int16 int32 int64 float16 float32 float64"
    for number, name in enumerate(names.split()):
        a = mx.array.__new__(mx.array)
        a.__setstate__((numpy.array([[0, 1]], name.rstrip("_")), number))
        assert a.dtype == getattr(mx, name) and a.shape == (1, 2) and a.tolist() == [[0, 1]]
    a = mx.array.__new__(mx.array)
    a.__setstate__((numpy.array([0x3F80, 0xC000], "uint16"), 12))
    assert a.dtype == mx.bfloat16 and a.tolist() == [1, -2]
    a = mx.array.__new__(mx.array)
    a.__setstate__((numpy.array(1 + 2j, "complex64"), 13))
    assert a.dtype == mx.complex64 and a.item() == 1 + 2j
    with pytest.raises(ValueError, match="number 14, expected 0 to 13"):
        mx.array.__new__(mx.array).__setstate__((numpy.zeros(1), 14))


# ---- Building extensions ----
def test_extensions_are_described_and_not_built():
    from setuptools import Distribution
    from setuptools.errors import CompileError

    from cermet import extension

    library = extension.MetalLibrary("kernels", [Path("a.metal")], extra_compile_args=["-O2"])
    modules = [
        extension.MetalExtension("one", [Path("a.cpp")], metal_libraries=[library]),
        extension.CMakeExtension("two", "folder"),
    ]
    assert modules[0].sources == ["a.cpp"] and modules[0].metal_libraries == [library]
    assert library.sources == ["a.metal"] and Path(modules[1].sourcedir).is_absolute()
    for command, module in zip(
        [extension.BuildExtension.with_options(use_ninja=False), extension.CMakeBuild],
        modules,
        strict=True,
    ):
        build = command(Distribution({"name": "x", "ext_modules": [module]}))
        build.ensure_finalized()
        with pytest.raises(CompileError, match=f"{module.name}: C.. extensions of MLX need MLX's"):
            build.run()
