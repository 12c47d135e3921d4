# What the generated type stubs lack (a pattern file of nanobind's stub generator).

# Dunder names are left out, and what is written in Python is added when the package is imported.
cermet.core.__suffix__:
    from cermet._more import *

    __version__: str

cermet.core.random.__suffix__:
    from cermet._more.distributions import *

# A number, of the kind that the element type says: whoever annotates it knows which.
cermet.core.array.item$:
    def item(self) -> bool | Any:
        \doc

cermet.core.array.tolist$:
    def tolist(self) -> list[Any] | Any:
        \doc

# Not of object's type, bool.
cermet.core.array.(__eq__|__ne__)$:
    def \1(self, other: object) -> array: ...  # type: ignore[override]

# Transforms keep what a function takes and, where that does not change, what it gives.
cermet.core.__prefix__:
    \from typing import ParamSpec, TypeVar
    _P = ParamSpec("_P")
    _R = TypeVar("_R")

cermet.core.compile$:
    def compile(fun: Callable[_P, _R], inputs: object | None = None, outputs: object | None = None, shapeless: bool = False) -> Callable[_P, _R]:
        \doc

cermet.core.vmap$:
    def vmap(fun: Callable[_P, _R], in_axes: object = 0, out_axes: object = 0) -> Callable[_P, _R]:
        \doc

cermet.core.checkpoint$:
    def checkpoint(fun: Callable[_P, _R]) -> Callable[_P, _R]:
        \doc

cermet.core.grad$:
    def grad(fun: Callable[_P, Any], argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = []) -> Callable[_P, Any]:
        \doc

cermet.core.value_and_grad$:
    def value_and_grad(fun: Callable[_P, _R], argnums: int | Sequence[int] | None = None, argnames: str | Sequence[str] = []) -> Callable[_P, tuple[_R, Any]]:
        \doc

cermet.core.custom_function.__suffix__:
    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

# The file says which it is.
cermet.core.load$:
    \from typing import Literal, overload
    @overload
    def load(file: IO[bytes] | str | os.PathLike, /, format: str | None = None, return_metadata: Literal[False] = False, *, stream: Stream | ThreadLocalStream | Device | DeviceType | None = None) -> Any: ...
    @overload
    def load(file: IO[bytes] | str | os.PathLike, /, format: str | None = None, *, return_metadata: Literal[True], stream: Stream | ThreadLocalStream | Device | DeviceType | None = None) -> tuple[dict[str, array], dict[str, Any]]:
        \doc
