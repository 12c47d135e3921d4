"""Trees: nested dicts, lists and tuples whose leaves are anything else.

The parameters of a model, their gradients and the state of an optimizer are trees of arrays. Every
function here works on any leaf and touches no array.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, overload

__all__ = [
    "tree_flatten",
    "tree_map",
    "tree_map_with_path",
    "tree_merge",
    "tree_reduce",
    "tree_unflatten",
]

IsLeaf = Callable[[Any], bool]
Destination = TypeVar("Destination", list[tuple[str, Any]], dict[str, Any])


def _items(tree: Any, is_leaf: IsLeaf | None) -> Iterator[tuple[Any, Any]] | None:
    """The (key, child) pairs of a node, or None for a leaf."""
    if is_leaf is not None and is_leaf(tree):
        return None
    if isinstance(tree, dict):
        return iter(tree.items())
    if isinstance(tree, (list, tuple)):
        return enumerate(tree)
    return None


def _rebuilt(tree: Any, keys_and_children: Iterator[tuple[Any, Any]]) -> Any:
    """A node like ``tree`` with new children; a subclass of dict becomes a plain dict."""
    if isinstance(tree, dict):
        return dict(keys_and_children)
    children = [child for _, child in keys_and_children]
    if hasattr(tree, "_fields"):  # a named tuple takes its children one by one
        return type(tree)(*children)
    return type(tree)(children)


def tree_map(fn: Callable[..., Any], tree: Any, *rest: Any, is_leaf: IsLeaf | None = None) -> Any:
    """Apply ``fn`` to each leaf of ``tree`` and return the tree of results.

    Args:
        fn: called with a leaf and with what stands at the same place in each tree of ``rest``.
        tree: nested dicts, lists and tuples.
        rest: further trees; each has at least the keys of ``tree``.
        is_leaf: tells which nodes count as leaves although they are containers.

    Returns:
        A tree like ``tree``.

    Raises:
        KeyError, IndexError: a tree of ``rest`` lacks a place that ``tree`` has.

    Examples:
        >>> utils.tree_map(lambda a, b: a + b, {"x": 1, "y": [2, 3]}, {"x": 10, "y": [20, 30]})
        {'x': 11, 'y': [22, 33]}
    """
    items = _items(tree, is_leaf)
    if items is None:
        return fn(tree, *rest)
    return _rebuilt(
        tree,
        ((k, tree_map(fn, child, *(r[k] for r in rest), is_leaf=is_leaf)) for k, child in items),
    )


def tree_map_with_path(
    fn: Callable[..., Any],
    tree: Any,
    *rest: Any,
    is_leaf: IsLeaf | None = None,
    path: Any = None,
) -> Any:
    """Like :func:`tree_map`, with the dotted path of the leaf as the first argument of ``fn``.

    Args:
        fn: called with the path, a leaf, and what stands at this place in each tree of ``rest``.
        tree, rest, is_leaf: as in :func:`tree_map`.
        path: a prefix for all paths. The path of a tree that is itself a leaf is this prefix.

    Returns:
        A tree like ``tree``.

    Raises:
        KeyError, IndexError: a tree of ``rest`` lacks a place that ``tree`` has.

    Examples:
        >>> utils.tree_map_with_path(lambda path, leaf: path, {"x": 1, "y": [2, 3]})
        {'x': 'x', 'y': ['y.0', 'y.1']}
    """
    items = _items(tree, is_leaf)
    if items is None:
        return fn(path, tree, *rest)
    prefix = f"{path}." if path else ""
    return _rebuilt(
        tree,
        (
            (
                k,
                tree_map_with_path(
                    fn, child, *(r[k] for r in rest), is_leaf=is_leaf, path=f"{prefix}{k}"
                ),
            )
            for k, child in items
        ),
    )


@overload
def tree_flatten(
    tree: Any, prefix: str = "", is_leaf: IsLeaf | None = None, destination: None = None
) -> list[tuple[str, Any]]: ...
@overload
def tree_flatten(
    tree: Any, prefix: str = "", is_leaf: IsLeaf | None = None, *, destination: Destination
) -> Destination: ...
def tree_flatten(
    tree: Any,
    prefix: str = "",
    is_leaf: IsLeaf | None = None,
    destination: list[tuple[str, Any]] | dict[str, Any] | None = None,
) -> list[tuple[str, Any]] | dict[str, Any]:
    """Flatten a tree to pairs of dotted path and leaf.

    Empty containers have no leaves, so they leave no trace.

    Args:
        tree: nested dicts, lists and tuples.
        prefix: put before every path; its first character (a dot) is dropped.
        is_leaf: tells which nodes count as leaves although they are containers.
        destination: a list or a dict to which the pairs are added; a new list by default.

    Returns:
        ``destination``.

    Raises:
        ValueError: a destination of another kind.

    Examples:
        >>> utils.tree_flatten({"x": 1, "y": [2, 3]})
        [('x', 1), ('y.0', 2), ('y.1', 3)]
    """
    if destination is None:
        destination = []
    elif not isinstance(destination, (list, dict)):
        raise ValueError(
            f"tree_flatten: destination is of {type(destination).__name__}, expected a list or dict"
        )
    items = _items(tree, is_leaf)
    if items is not None:
        for k, child in items:
            tree_flatten(child, f"{prefix}.{k}", is_leaf, destination=destination)
    elif isinstance(destination, dict):
        destination[prefix[1:]] = tree
    else:
        destination.append((prefix[1:], tree))
    return destination


def tree_unflatten(tree: list[tuple[str, Any]] | Mapping[str, Any]) -> Any:
    """Build a tree from pairs of dotted path and leaf: the inverse of :func:`tree_flatten`.

    A node whose keys are all whole numbers becomes a list, in which places without a leaf hold an
    empty dict.

    Args:
        tree: a list of pairs, or a dict.

    Returns:
        The tree.

    Raises:
        ValueError: there would be far more such places than leaves: 65,536 and 16 for each leaf; or
            something is no pair.

    Examples:
        >>> utils.tree_unflatten([("x", 1), ("y.0", 2), ("y.1", 3)])
        {'x': 1, 'y': [2, 3]}
    """
    pairs = list(tree.items()) if isinstance(tree, Mapping) else [_pair(item) for item in tree]
    return _unflatten(pairs, "", [65_536 + 16 * len(pairs)])


def _unflatten(pairs: list[tuple[str, Any]], prefix: str, room: list[int]) -> Any:
    """The tree of the pairs below a prefix; ``room`` holds how many places may go without leaf."""
    if not pairs:
        return []
    if len(pairs) == 1 and pairs[0][0] == "":
        return pairs[0][1]

    children: dict[str, list[tuple[str, Any]]] = {}
    for path, leaf in pairs:
        key, _, below = path.partition(".")
        children.setdefault(key, []).append((below, leaf))
    nodes = {key: _unflatten(below, f"{prefix}{key}.", room) for key, below in children.items()}
    if not all(key.isdecimal() for key in nodes):
        return nodes
    by_index = {int(key): node for key, node in nodes.items()}
    count = max(by_index) + 1
    room[0] -= count - len(by_index)
    if room[0] < 0:
        raise ValueError(
            f"tree_unflatten: '{prefix}{count - 1}' asks for a list of {count} places, of which "
            f"{len(by_index)} have a leaf"
        )
    return [by_index.get(i, {}) for i in range(count)]


def _pair(item: Any) -> tuple[str, Any]:
    if not isinstance(item, (list, tuple)) or len(item) != 2 or not isinstance(item[0], str):
        raise ValueError(
            f"tree_unflatten: expected pairs of a dotted path and a leaf, got {type(item).__name__}"
        )
    return item[0], item[1]


def tree_reduce(
    fn: Callable[[Any, Any], Any],
    tree: Any,
    initializer: Any = None,
    is_leaf: IsLeaf | None = None,
) -> Any:
    """Combine the leaves from first to last: ``fn(fn(fn(initializer, a), b), c)``.

    Args:
        fn: a function of what came of the leaves before, and a leaf.
        tree: nested dicts, lists and tuples.
        initializer: what stands before the first leaf; without it, that leaf does.
        is_leaf: tells which nodes count as leaves although they are containers.

    Returns:
        What came of all leaves; ``initializer`` for a tree without leaves.

    Examples:
        >>> utils.tree_reduce(lambda total, leaf: total + leaf, {"x": 1, "y": [2, 3]}, 0)
        6
    """
    items = _items(tree, is_leaf)
    if items is None:
        return tree if initializer is None else fn(initializer, tree)
    for _, child in items:
        initializer = tree_reduce(fn, child, initializer, is_leaf)
    return initializer


def tree_merge(tree_a: Any, tree_b: Any, merge_fn: Callable[[Any, Any], Any] | None = None) -> Any:
    """Merge two trees to one that has the leaves of both.

    A list and a tuple become what the first of them is.

    Args:
        tree_a, tree_b: nested dicts, lists and tuples.
        merge_fn: gives the leaf for a place where both trees have one.

    Returns:
        The tree of both.

    Raises:
        ValueError: both trees have something at a place and there is no ``merge_fn``.

    Examples:
        >>> utils.tree_merge({"x": 1, "y": {"a": 2}}, {"y": {"b": 3}})
        {'x': 1, 'y': {'a': 2, 'b': 3}}
    """
    if _is_nothing(tree_a):
        return tree_b
    if _is_nothing(tree_b):
        return tree_a
    if isinstance(tree_a, dict) and isinstance(tree_b, dict):
        merged = {k: tree_merge(a, tree_b.get(k), merge_fn) for k, a in tree_a.items()}
        return merged | {k: b for k, b in tree_b.items() if k not in tree_a}
    if isinstance(tree_a, (list, tuple)) and isinstance(tree_b, (list, tuple)):
        shared = min(len(tree_a), len(tree_b))
        both = (tree_merge(a, b, merge_fn) for a, b in zip(tree_a, tree_b, strict=False))
        return type(tree_a)([*both, *tree_a[shared:], *tree_b[shared:]])
    if merge_fn is None:
        raise ValueError(
            "tree_merge: both trees have a value at the same place; "
            f"pass merge_fn to combine {type(tree_a).__name__} and {type(tree_b).__name__}"
        )
    return merge_fn(tree_a, tree_b)


def _is_nothing(tree: Any) -> bool:
    return tree is None or (isinstance(tree, (dict, list, tuple)) and len(tree) == 0)
