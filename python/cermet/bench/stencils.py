"""Steps of partial differential equations, written with slices and updates of them."""

from __future__ import annotations

from typing import Any

from .peers import Peer

INNER = (slice(1, -1), slice(1, -1))
EAST, WEST = (slice(1, -1), slice(2, None)), (slice(1, -1), slice(None, -2))
NORTH, SOUTH = (slice(2, None), slice(1, -1)), (slice(None, -2), slice(1, -1))
NORTH_EAST = (slice(2, None), slice(2, None))
NORTH_WEST, SOUTH_EAST = (slice(2, None), slice(None, -2)), (slice(None, -2), slice(2, None))
FIRST, LAST = (slice(None), slice(0, 1)), (slice(None), slice(-1, None))
SECOND, NEXT_TO_LAST = (slice(None), slice(1, 2)), (slice(None), slice(-2, -1))


def jacobi(f: Peer, u: Any, source: Any) -> Any:
    """One of Jacobi's iterations for Poisson's equation; values at the edges are given."""
    return f.put(u, INNER, 0.25 * (u[EAST] + u[WEST] + u[NORTH] + u[SOUTH] - source[INNER]))


def _periodic(f: Peer, x: Any) -> Any:
    return f.put(f.put(x, FIRST, x[NEXT_TO_LAST]), LAST, x[SECOND])


def shallow_water(f: Peer, h: Any, u: Any, v: Any) -> tuple[Any, Any, Any]:
    """A step of the shallow water equations in a channel that is periodic along its length.

    The scheme conserves energy (Sadourny 1975), on a staggered grid (Arakawa and Lamb 1977): depth
    in a cell's middle, velocities on its eastern and northern side.
    """
    gravity, coriolis, spacing, dt = 9.81, 2e-4, 5e3, 30.0
    ahead_x, ahead_y = 0.5 * (h[INNER] + h[EAST]), 0.5 * (h[INNER] + h[NORTH])
    flux_x = _periodic(f, f.put(u, INNER, ahead_x * u[INNER]))
    flux_y = _periodic(f, f.put(v, INNER, ahead_y * v[INNER]))
    walls = slice(-2, None), slice(None)
    flux_y = f.put(flux_y, walls, 0.0 * flux_y[walls])

    corners = 0.25 * (h[INNER] + h[EAST] + h[NORTH] + h[NORTH_EAST])
    curl = (v[EAST] - v[INNER] - u[NORTH] + u[INNER]) / spacing
    vorticity = _periodic(f, f.put(h, INNER, (coriolis + curl) / corners))
    squares = u[INNER] * u[INNER] + u[WEST] * u[WEST] + v[INNER] * v[INNER] + v[SOUTH] * v[SOUTH]
    head = _periodic(f, f.put(h, INNER, gravity * h[INNER] + 0.25 * squares))

    inflow = flux_x[WEST] - flux_x[INNER] + flux_y[SOUTH] - flux_y[INNER]
    h_next = _periodic(f, f.put(h, INNER, h[INNER] + dt / spacing * inflow))
    over_y = vorticity[INNER] * (flux_y[INNER] + flux_y[EAST])
    over_y = over_y + vorticity[SOUTH] * (flux_y[SOUTH] + flux_y[SOUTH_EAST])
    rate = 0.25 * over_y - (head[EAST] - head[INNER]) / spacing
    u_next = _periodic(f, f.put(u, INNER, u[INNER] + dt * rate))
    over_x = vorticity[INNER] * (flux_x[INNER] + flux_x[NORTH])
    over_x = over_x + vorticity[WEST] * (flux_x[WEST] + flux_x[NORTH_WEST])
    rate = -0.25 * over_x - (head[NORTH] - head[INNER]) / spacing
    v_next = _periodic(f, f.put(v, INNER, v[INNER] + dt * rate))
    return h_next, u_next, v_next
