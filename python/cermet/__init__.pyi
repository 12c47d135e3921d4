# What type checkers read in the place of __init__.py, where they cannot follow all names.
from cermet.core import *  # noqa: F403
from cermet.core import __version__ as __version__

from . import core as core
