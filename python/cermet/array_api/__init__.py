"""The Python array API standard (2025.12) on Cermet's arrays.

`x.__array_namespace__()` gives this module. Where the standard means something else by a name than
MLX does (types of indices and of integer sums, float64 from other libraries, keywords), the meaning
of `cermet.core` stays as it is, and the functions here adapt.
"""

import sys
from types import ModuleType

from ..core import array, e, inf, nan, newaxis, pi
from . import (
    _creation,
    _elementwise,
    _manipulation,
    _searching,
    _statistics,
    _types,
    fft,
    linalg,
)
from ._creation import *  # noqa: F403
from ._elementwise import *  # noqa: F403
from ._manipulation import *  # noqa: F403
from ._searching import *  # noqa: F403
from ._statistics import *  # noqa: F403
from ._types import *  # noqa: F403
from .linalg import matmul, matrix_transpose, tensordot, vecdot

__all__ = [
    "array",
    "e",
    "fft",
    "inf",
    "linalg",
    "matmul",
    "matrix_transpose",
    "nan",
    "newaxis",
    "pi",
    "tensordot",
    "vecdot",
    *_creation.__all__,
    *_elementwise.__all__,
    *_manipulation.__all__,
    *_searching.__all__,
    *_statistics.__all__,
    *_types.__all__,
]
__array_api_version__ = "2025.12"


def _of_version(version: str | None) -> ModuleType:
    """This module, which has all that earlier versions of the standard ask for."""
    versions = ("2021.12", "2022.12", "2023.12", "2024.12", __array_api_version__)
    if version is not None and version not in versions:
        raise ValueError(
            f"__array_namespace__: version {version!r} of the array API standard, "
            f"expected one of {', '.join(versions)}"
        )
    return sys.modules[__name__]
