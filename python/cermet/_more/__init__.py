"""What `cermet.core` has beyond its compiled part: compositions, by subject.

They become names of `cermet.core` and `cermet.core.random` when the package is imported.
"""
# ruff: noqa: F405

from .. import core
from . import distributions
from .control import *  # noqa: F403
from .derivatives import *  # noqa: F403
from .nans import *  # noqa: F403
from .numerical import *  # noqa: F403
from .special import *  # noqa: F403
from .statistics import *  # noqa: F403

# A literal: type checkers understand no list that is put together.
__all__ = [
    "bincount",
    "cond",
    "corrcoef",
    "cov",
    "cross",
    "digamma",
    "digitize",
    "erfc",
    "gradient",
    "hessian",
    "histogram",
    "histogram_bin_edges",
    "interp",
    "jacobian",
    "lgamma",
    "nanargmax",
    "nanargmin",
    "nanmax",
    "nanmean",
    "nanmin",
    "nanprod",
    "nanstd",
    "nansum",
    "nanvar",
    "one_hot",
    "percentile",
    "quantile",
    "scan",
    "while_loop",
]

for _name in __all__:
    setattr(core, _name, globals()[_name])
for _name in distributions.__all__:
    setattr(core.random, _name, getattr(distributions, _name))
