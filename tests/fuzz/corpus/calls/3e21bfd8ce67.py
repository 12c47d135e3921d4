# error: ValueError: not enough values to unpack (expected 2, got 1) utils.py:149
use(utils.tree_unflatten([mx.array([complex(1e-320, 0.0)])[None]]))
