"""Language models of the Llama family: loading, generating, serving.

``python -m cermet.llm`` is the program. What it needs beyond Cermet comes with the extra ``llm``;
``app`` and ``serve`` need the extra ``serve``.
"""

from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

try:
    import tokenizers as _tokenizers  # noqa: F401

    if _find_spec("jinja2") is None:  # which takes its time: imported with a tokenizer
        raise ModuleNotFoundError(name="jinja2")
except ImportError as error:
    raise ImportError(
        f"cermet.llm needs the package {error.name}: python -m pip install 'cermet[llm]'"
    ) from error

from cermet.llm.batch import Batch, Member, generate_batch
from cermet.llm.cache import Cache
from cermet.llm.errors import ModelError
from cermet.llm.generate import Session, Statistics, generate, stream
from cermet.llm.load import load, shipped
from cermet.llm.model import Config, Model, Rope
from cermet.llm.propose import Draft, PromptLookup
from cermet.llm.run import Runner
from cermet.llm.sample import Sampler, Sampling
from cermet.llm.store import load_session, save_session
from cermet.llm.tokenizer import Tokenizer

if TYPE_CHECKING:
    from cermet.llm.server import app, serve

__all__ = [
    "Batch",
    "Cache",
    "Config",
    "Draft",
    "Member",
    "Model",
    "ModelError",
    "PromptLookup",
    "Rope",
    "Runner",
    "Sampler",
    "Sampling",
    "Session",
    "Statistics",
    "Tokenizer",
    "app",
    "generate",
    "generate_batch",
    "load",
    "load_session",
    "save_session",
    "serve",
    "shipped",
    "stream",
]


def __getattr__(name: str) -> Any:
    if name in ("app", "serve"):  # the rest works without the packages that these need
        from cermet.llm import server

        return getattr(server, name)
    raise AttributeError(f"module 'cermet.llm' has no attribute '{name}'")
