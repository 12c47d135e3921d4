"""Lets ``reprlib``, and so pytest's messages, show arrays.

Before Python 3.12 it goes by a class's name alone and takes ``array`` for the standard library's.
"""

import reprlib
import sys

from .core import array


def _shown(standard):
    def repr_array(self, x, level):
        return self.repr_instance(x, level) if isinstance(x, array) else standard(self, x, level)

    return repr_array


if sys.version_info < (3, 12):
    reprlib.Repr.repr_array = _shown(reprlib.Repr.repr_array)  # type: ignore[method-assign]
