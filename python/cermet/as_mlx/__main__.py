"""``python -m cermet.as_mlx program.py args``, or ``-m package args``: Cermet runs it as mlx."""

import os
import runpy
import sys


def main() -> None:
    arguments = sys.argv[1:]
    is_module = arguments[:1] == ["-m"]
    if len(arguments) <= is_module or (arguments[0].startswith("-") and not is_module):
        sys.exit("usage: python -m cermet.as_mlx (program.py | -m package) [arguments]")
    if is_module:
        sys.argv = arguments[1:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        return
    sys.argv = arguments
    if not getattr(sys.flags, "safe_path", False):
        sys.path[0] = os.path.dirname(os.path.abspath(sys.argv[0]))
    runpy.run_path(sys.argv[0], run_name="__main__")


main()
