# What the generated type stubs lack (a pattern file of nanobind's stub generator).

# Dunder names are left out, and what is written in Python is added when the package is imported.
cermet.core.__suffix__:
    from cermet._more import *

    __version__: str

cermet.core.random.__suffix__:
    from cermet._more.distributions import *
