"""Recurrent layers. Inputs are ``(..., time, features)``, outputs hold the state at every time."""

from __future__ import annotations

import math
from collections.abc import Callable

import cermet.core as mx
from cermet.nn.activations import tanh
from cermet.nn.base import Module

__all__ = ["GRU", "LSTM", "RNN"]


def _uniform(hidden_size: int, *shape: int) -> mx.array:
    limit = 1 / math.sqrt(hidden_size)
    return mx.random.uniform(-limit, limit, shape)


def _project(x: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


class RNN(Module):
    """``h = nonlinearity(x @ Wxh.T + h @ Whh.T + bias)`` (Elman, 1990)

    Args:
        input_size: how many features the input has.
        hidden_size: the size of the state.
        bias: whether there is a bias.
        nonlinearity: the activation function; by default tanh.

    Examples:
        >>> nn.RNN(3, 8)(mx.ones((2, 10, 3))).shape
        (2, 10, 8)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Callable[[mx.array], mx.array] | None = None,
    ):
        super().__init__()
        self.nonlinearity = tanh if nonlinearity is None else nonlinearity
        if not callable(self.nonlinearity):
            raise ValueError(f"RNN: nonlinearity is {nonlinearity!r}, expected a function")
        self.hidden_size = hidden_size
        self.Wxh = _uniform(hidden_size, hidden_size, input_size)
        self.Whh = _uniform(hidden_size, hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wxh.shape[-1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={self.bias is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        """The states at all times ``(..., time, hidden_size)``; ``hidden`` is the one before."""
        inputs = _project(x, self.Wxh, self.bias)
        states = []
        for t in range(x.shape[-2]):
            total = inputs[..., t, :]
            if hidden is not None:
                total = total + hidden @ self.Whh.T
            hidden = self.nonlinearity(total)
            states.append(hidden)
        return mx.stack(states, axis=-2)


class GRU(Module):
    """The gated recurrent unit (Cho et al., 2014).

    With ``r``, ``z`` and ``n`` the three parts of ``x @ Wx.T + b``, to which those of ``h @ Wh.T``
    are added::

        r = sigmoid(r)
        z = sigmoid(z)
        n = tanh(x_n + r * (h_n + bhn))
        h = (1 - z) * n + z * h

    Args:
        input_size: how many features the input has.
        hidden_size: the size of the state.
        bias: whether there are biases.

    Examples:
        >>> nn.GRU(3, 8)(mx.ones((2, 10, 3))).shape
        (2, 10, 8)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 3 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 3 * hidden_size, hidden_size)
        self.b = _uniform(hidden_size, 3 * hidden_size) if bias else None
        self.bhn = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[-1]}, hidden_size={self.hidden_size}, "
            f"bias={self.b is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        """The states at all times ``(..., time, hidden_size)``; ``hidden`` is the one before."""
        inputs = _project(x, self.Wx, self.b)
        if hidden is None:
            hidden = mx.zeros((*x.shape[:-2], self.hidden_size), inputs.dtype)
        states = []
        for t in range(x.shape[-2]):
            x_r, x_z, x_n = mx.split(inputs[..., t, :], 3, axis=-1)
            h_r, h_z, h_n = mx.split(hidden @ self.Wh.T, 3, axis=-1)
            if self.bhn is not None:
                h_n = h_n + self.bhn
            r = mx.sigmoid(x_r + h_r)
            z = mx.sigmoid(x_z + h_z)
            n = mx.tanh(x_n + r * h_n)
            hidden = (1 - z) * n + z * hidden
            states.append(hidden)
        return mx.stack(states, axis=-2)


class LSTM(Module):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997).

    With ``i``, ``f``, ``g`` and ``o`` the four parts of ``x @ Wx.T + h @ Wh.T + bias``::

        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        h = sigmoid(o) * tanh(c)

    Args:
        input_size: how many features the input has.
        hidden_size: the size of the state.
        bias: whether there is a bias.

    Examples:
        >>> h, c = nn.LSTM(3, 8)(mx.ones((2, 10, 3)))
        >>> h.shape, c.shape
        ((2, 10, 8), (2, 10, 8))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True):
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 4 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, 4 * hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[-1]}, hidden_size={self.hidden_size}, "
            f"bias={self.bias is not None}"
        )

    def __call__(
        self, x: mx.array, hidden: mx.array | None = None, cell: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        """The ``h`` and the ``c`` at all times, both ``(..., time, hidden_size)``.

        ``hidden`` and ``cell`` are those before.
        """
        inputs = _project(x, self.Wx, self.bias)
        states, cells = [], []
        for t in range(x.shape[-2]):
            total = inputs[..., t, :]
            if hidden is not None:
                total = total + hidden @ self.Wh.T
            i, f, g, o = mx.split(total, 4, axis=-1)
            new = mx.sigmoid(i) * mx.tanh(g)
            cell = new if cell is None else mx.sigmoid(f) * cell + new
            hidden = mx.sigmoid(o) * mx.tanh(cell)
            states.append(hidden)
            cells.append(cell)
        return mx.stack(states, axis=-2), mx.stack(cells, axis=-2)
