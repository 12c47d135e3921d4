"""The distributed submodule in one process: collective operations change nothing."""

import pytest

import cermet.core as mx


@pytest.mark.parametrize("name", ["all_sum", "all_max", "all_min", "all_gather", "sum_scatter"])
def test_collectives_are_the_identity(name):
    group = mx.distributed.init()
    assert (group.rank(), group.size()) == (0, 1)
    x = mx.array([[1.0, 2.0], [3.0, 4.0]])
    collective = getattr(mx.distributed, name)
    assert collective(x).tolist() == collective(x, group=group).tolist() == x.tolist()


def test_nothing_to_communicate_with():
    assert not mx.distributed.is_available()
    with pytest.raises(RuntimeError, match="init: "):
        mx.distributed.init(strict=True)
    with pytest.raises(RuntimeError, match="split: "):
        mx.distributed.init().split(0)
    for call in (
        lambda: mx.distributed.send(mx.ones(2), 1),
        lambda: mx.distributed.recv((2,), mx.float32, 1),
        lambda: mx.distributed.recv_like(mx.ones(2), 1),
    ):
        with pytest.raises(ValueError, match="no other process"):
            call()
