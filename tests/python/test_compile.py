"""Cermet's Metal source through the compiler of the GPU that is there."""

import pytest
from metal_sources import SOURCES, metal_source

import cermet.core as mx

if not mx.metal.is_available():
    pytest.skip("needs a Metal device", allow_module_level=True)


@pytest.mark.parametrize("name", SOURCES)
def test_sources(name):
    mx.metal._compile(metal_source(name), name)


def test_wrong_source():
    """Errors have the label and the line, or what a #line says."""
    wrong = "#include <metal_stdlib>\nconstant int counter = missing;\n"
    with pytest.raises(mx.metal.CompileError, match=r"label:2:\d+: error: .*missing"):
        mx.metal._compile(wrong, "label")
    with pytest.raises(mx.metal.CompileError, match=r"named:7:\d+: error: .*missing"):
        mx.metal._compile('#line 6 "named"\n' + wrong, "label")


def test_wrong_kernel():
    kernel = mx.fast.metal_kernel("wrong", ["x"], ["y"], "y[0] = missing;")
    x = mx.zeros(1)
    with pytest.raises(mx.metal.CompileError, match=r"wrong\.metal:1:\d+: error: .*missing"):
        mx.eval(
            kernel(
                inputs=[x],
                output_shapes=[(1,)],
                output_dtypes=[mx.float32],
                grid=(1, 1, 1),
                threadgroup=(1, 1, 1),
                stream=mx.gpu,
            )
        )
