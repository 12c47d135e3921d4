"""cermet.utils: functions of trees."""

from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cermet.utils import (
    tree_flatten,
    tree_map,
    tree_map_with_path,
    tree_merge,
    tree_reduce,
    tree_unflatten,
)

TREE = {"a": [1, (2, {"b": 3})], "c": {}, "d": None, "e": []}


def test_map_keeps_the_structure_and_the_types():
    assert tree_map(lambda x: (x,), {"a": [1, (2,)], "e": []}) == {"a": [(1,), ((2,),)], "e": []}


def test_map_rebuilds_named_tuples():
    pair = namedtuple("pair", "x y")
    assert tree_map(lambda x: x + 1, pair(1, 2)) == pair(2, 3)


def test_map_over_several_trees_takes_the_places_of_the_first():
    rest = {"a": [3, 4, 5], "b": 6}
    assert tree_map(lambda x, y: x * y, {"a": [1, 2]}, rest) == {"a": [3, 8]}
    with pytest.raises(KeyError):
        tree_map(lambda x, y: x, {"a": 1}, {"b": 1})
    with pytest.raises(IndexError):
        tree_map(lambda x, y: x, [1, 2], [1])


def test_is_leaf_stops_the_descent():
    tree = {"a": {"stop": 1}, "b": [2]}
    seen = tree_map(
        lambda x, y: (x, y),
        tree,
        {"a": 7, "b": [8]},
        is_leaf=lambda t: "stop" in t if isinstance(t, dict) else False,
    )
    assert seen == {"a": ({"stop": 1}, 7), "b": [(2, 8)]}


def test_map_with_path():
    paths = tree_map_with_path(lambda path, x: f"{path}={x}", {"a": [1, (2,)], "b": 3})
    assert paths == {"a": ["a.0=1", ("a.1.0=2",)], "b": "b=3"}
    assert tree_map_with_path(lambda path, x: path, {"a": 1}, path="root") == {"a": "root.a"}
    assert tree_map_with_path(lambda path, x: path, 3) is None


def test_flatten():
    assert tree_flatten(TREE) == [("a.0", 1), ("a.1.0", 2), ("a.1.1.b", 3), ("d", None)]
    assert tree_flatten(3) == [("", 3)]
    assert tree_flatten([1], prefix=".p") == [("p.0", 1)]
    assert tree_flatten({"a": {}}, is_leaf=lambda t: t == {}) == [("a", {})]


def test_flatten_to_a_destination():
    assert tree_flatten({"a": 1}, destination={"z": 0}) == {"z": 0, "a": 1}
    assert tree_flatten({"a": [1]}, destination=[("z", 0)]) == [("z", 0), ("a.0", 1)]


@pytest.mark.parametrize(
    "flat, tree",
    [
        ([("a.0", 1), ("a.2", 3)], {"a": [1, {}, 3]}),
        ({"a.b": 1, "a.c": 2}, {"a": {"b": 1, "c": 2}}),
        ([("0.x", 1), ("1", 2)], [{"x": 1}, 2]),
        ([("a.0", 1), ("a.b", 2)], {"a": {"0": 1, "b": 2}}),
        ([("", 3)], 3),
        ([], []),
    ],
)
def test_unflatten(flat, tree):
    assert tree_unflatten(flat) == tree


TREES = st.recursive(
    st.integers(),
    lambda children: (
        st.lists(children, min_size=1, max_size=12)
        | st.dictionaries(st.sampled_from(["weight", "bias", "x1", "_"]), children, min_size=1)
    ),
    max_leaves=30,
)


@given(TREES)
def test_unflatten_inverts_flatten(tree):
    assert tree_unflatten(tree_flatten(tree)) == tree
    assert tree_unflatten(tree_flatten(tree, destination={})) == tree


@given(TREES)
def test_reduce_visits_the_leaves_in_the_order_of_flatten(tree):
    leaves = tree_reduce(lambda seen, x: [*seen, x], tree, [])
    assert leaves == [x for _, x in tree_flatten(tree)]


def test_reduce():
    assert tree_reduce(lambda a, b: a + b, {"a": [1, 2], "b": (3,)}) == 6
    assert tree_reduce(lambda a, b: a + b, {"a": [1, 2]}, 10) == 13
    assert tree_reduce(lambda a, b: a + b, {}, 7) == 7
    assert tree_reduce(lambda a, b: a + b, {}) is None


def test_merge():
    assert tree_merge({"a": {"x": 1}}, {"a": {"y": 2}, "b": 3}) == {"a": {"x": 1, "y": 2}, "b": 3}
    assert tree_merge([1, {}], [{}, 2, 3]) == [1, 2, 3]
    assert tree_merge((1, {}), ({}, 2)) == (1, 2)
    assert tree_merge([1, 2], [3], lambda a, b: a * b) == [3, 2]
    assert tree_merge({}, 3) == 3


@pytest.mark.parametrize("a, b", [({"a": 1}, {"a": 2}), ([1], [2]), ({"a": [1]}, {"a": {"b": 2}})])
def test_merge_without_a_function_refuses_two_values_at_a_place(a, b):
    with pytest.raises(ValueError, match=r"tree_merge: .*merge_fn"):
        tree_merge(a, b)


def test_a_list_of_a_tree_is_no_longer_than_its_leaves_warrant():
    assert len(tree_unflatten({"l.60000.weight": 1})["l"]) == 60001  # of an adapter, say
    sparse = {f"a.{i}.b": 0 for i in range(0, 100_000, 20)}
    assert len(tree_unflatten(sparse)["a"]) == 99_981
    for hostile in (
        {"l.9999999999.weight": 1},
        {f"a{i}.60000": 1 for i in range(1000)},
        {f"a.{i}.60000": 1 for i in range(1000)},
        {f"a.{'9' * 4000}": 1},
    ):
        with pytest.raises(ValueError, match=r"tree_unflatten: 'a|tree_unflatten: 'l"):
            tree_unflatten(hostile)
    with pytest.raises(ValueError):
        tree_unflatten({f"a.{'9' * 5000}": 1})
