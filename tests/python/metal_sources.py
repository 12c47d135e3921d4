"""The complete sources of Metal that Cermet gives to the GPU's compiler, for the tests.

A table has the instances of kernels; row programs are generated, one of each kind.

    python tests/python/metal_sources.py FOLDER

writes them all to files, for Apple's compiler.
"""

import re
import sys
from pathlib import Path

from conftest import NUMPY_DTYPES, mx_dtype

import cermet.core as mx

ROOT = Path(__file__).parents[2]
INSTANCES = ROOT / "tests" / "metal" / "instances.txt"
FILES = sorted(file.name for file in (ROOT / "metal").iterdir())
DTYPES = [dtype for dtype in NUMPY_DTYPES if dtype != "float64"]
OPERATIONS = re.findall(
    r"^CERMET_ELEMENTWISE\((\w+), (\d)",
    (ROOT / "csrc/include/cermet/elementwise.def").read_text(),
    re.MULTILINE,
)
NAMES = {"select": "where"}  # in Python, where it differs


def of_file(name):
    """A file of metal/ with what it includes, and a family of kernels with its instances."""
    source = mx.metal._file(name)
    rows = [line.split(maxsplit=1) for line in INSTANCES.read_text().splitlines()]
    instances = [row[1] for row in rows if row and row[0] + ".metal" == name]
    assert bool(instances) == name.endswith(".metal")
    for number, instance in enumerate(instances):
        attributes = f'[[host_name("kernel_{number}")]] [[kernel]]'
        source += f"template {attributes} decltype({instance}) {instance};\n"
    return source


def values(*shape, dtype=mx.float32):
    return mx.zeros(shape, dtype)


PROGRAMS = {
    "flat": lambda: mx.exp(values(100)) * 2,
    "flat_long": lambda: mx.exp(mx.broadcast_to(values(1), (3 << 30,))),
    "strided_2d": lambda: values(30, 40).T + values(40, 1),
    "strided_3d": lambda: values(4, 5, 6).transpose(2, 0, 1) * values(6, 4, 5),
    "strided_5d": lambda: values(2, 3, 4, 5, 6).transpose(4, 2, 0, 3, 1) * values(6, 4, 2, 5, 3),
    "solo": lambda: mx.sum(values(100, 8), axis=1),
    "simd": lambda: mx.softmax(values(10, 100), axis=-1),
    "group_kept": lambda: mx.softmax(values(10, 3000), axis=-1),
    "group_looped": lambda: mx.softmax(values(3, 70000), axis=-1),
    "columns": lambda: mx.sum(values(300, 40), axis=0),
    "columns_kept": lambda: mx.softmax(values(60, 40), axis=0),
    "chunks": lambda: mx.sum(values(1000, 1000) * 2),
    "chunks_of_columns": lambda: mx.mean(values(100000, 40), axis=0),
    "float16": lambda: mx.softmax(values(10, 100, dtype=mx.float16), axis=-1),
    "bfloat16": lambda: mx.var(values(1000, 100, dtype=mx.bfloat16), axis=0),
    "complex64": lambda: mx.sum(values(10, 100, dtype=mx.complex64) * 2j, axis=-1),
    "complex64_columns": lambda: (
        mx.prod(values(100, 40, dtype=mx.complex64), axis=0) + values(40, dtype=mx.complex64)
    ),
    "int64": lambda: mx.max(values(10, 100, dtype=mx.int64) // 3, axis=-1),
    "uint8": lambda: mx.min(values(10, 10, dtype=mx.uint8) + 1, axis=-1),
    "bool": lambda: mx.any(values(10, 100) > 1, axis=-1),
}


def of_program(name):
    source = mx.metal.source(PROGRAMS[name](), complete=True)
    assert "[[kernel" in source
    return source


def of_operations(dtype):
    """Every elementwise operation that takes the type."""
    x = values(1, dtype=mx_dtype(dtype))
    results = []
    for name, arity in OPERATIONS:
        try:
            results.append(getattr(mx, NAMES.get(name, name))(*[x] * int(arity)))
        except (ValueError, TypeError):
            continue  # not of this type
    assert len(results) > len(OPERATIONS) / 3
    return mx.metal.source(*results, complete=True)


# What makes each source, by its name.
SOURCES = {
    **{name: (of_file, name) for name in FILES},
    **{f"program_{name}": (of_program, name) for name in PROGRAMS},
    **{f"operations_{dtype}": (of_operations, dtype) for dtype in DTYPES},
}


def metal_source(name):
    make, argument = SOURCES[name]
    return make(argument)


def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        (folder / name).with_suffix(".metal").write_text(metal_source(name))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
