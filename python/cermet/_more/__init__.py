"""What `cermet.core` has beyond its compiled part: compositions, by subject.

They become names of `cermet.core` and `cermet.core.random` when the package is imported.
"""

from .. import core
from . import control, derivatives, distributions, nans, numerical, special, statistics
from .control import *  # noqa: F403
from .derivatives import *  # noqa: F403
from .nans import *  # noqa: F403
from .numerical import *  # noqa: F403
from .special import *  # noqa: F403
from .statistics import *  # noqa: F403

__all__ = [
    *control.__all__,
    *derivatives.__all__,
    *nans.__all__,
    *numerical.__all__,
    *special.__all__,
    *statistics.__all__,
]

for _name in __all__:
    setattr(core, _name, globals()[_name])
for _name in distributions.__all__:
    setattr(core.random, _name, getattr(distributions, _name))
