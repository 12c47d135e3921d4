"""All optimizers, under the name by which programs import them."""

from cermet.optimizers import adam, adaptive, base, clip, muon, sgd
from cermet.optimizers.adam import *  # noqa: F403
from cermet.optimizers.adaptive import *  # noqa: F403
from cermet.optimizers.base import *  # noqa: F403
from cermet.optimizers.clip import *  # noqa: F403
from cermet.optimizers.muon import *  # noqa: F403
from cermet.optimizers.sgd import *  # noqa: F403

__all__ = [
    *base.__all__,
    *sgd.__all__,
    *adaptive.__all__,
    *adam.__all__,
    *muon.__all__,
    *clip.__all__,
]
