# What the generated type stubs lack (a pattern file of nanobind's stub generator).

# Dunder names are left out.
cermet.core.__suffix__:
    __version__: str
