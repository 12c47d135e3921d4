"""Steps of simulations on grids, written as their codes are: with slices and updates in place.

The functions take the namespace of a framework whose arrays can be updated in place.
"""

from __future__ import annotations

from typing import Any


def jacobi(x: Any) -> Any:
    """The mean of four neighbours, in place; the boundary stays.

    Args:
        x: the grid, which is overwritten.
    """
    x[1:-1, 1:-1] = 0.25 * (x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:])
    return x


def advect(xp: Any, c: Any, u: Any, v: Any) -> Any:
    """A quantity after an upwind step.

    Args:
        xp: the framework's namespace.
        c: the quantity, which is overwritten.
        u: the flow across the faces to the right.
        v: the flow across the faces below.
    """
    east, south = xp.zeros_like(c), xp.zeros_like(c)
    east[:, :-1] = xp.where(u[:, :-1] > 0, c[:, :-1], c[:, 1:]) * u[:, :-1]
    south[:-1] = xp.where(v[:-1] > 0, c[:-1], c[1:]) * v[:-1]
    c[1:-1, 1:-1] -= 0.1 * (
        east[1:-1, 1:-1] - east[1:-1, :-2] + south[1:-1, 1:-1] - south[:-2, 1:-1]
    )
    return c


def shallow_water(
    xp: Any, h: Any, u: Any, v: Any, depth: Any, spin: Any, tracers: tuple[Any, ...]
) -> tuple[Any, ...]:
    """A step of a rotating layer of water that carries tracers, on a staggered grid.

    Args:
        xp: the framework's namespace.
        h: the thickness of the layer.
        u: the velocity across the faces to the right.
        v: the velocity across the faces below.
        depth: of the ground.
        spin: the planet's vorticity.
        tracers: what is carried.

    Returns:
        The thickness, both velocities and the tracers after the step.
    """
    dt, gravity, drag, diffusion = 0.05, 9.81, 0.01, 0.02
    hu, hv = xp.zeros_like(u), xp.zeros_like(v)
    hu[:, :-1] = 0.5 * (h[:, :-1] + h[:, 1:]) * u[:, :-1]
    hv[:-1] = 0.5 * (h[:-1] + h[1:]) * v[:-1]
    hu[:, -1] = 0
    hv[-1] = 0

    vorticity = xp.zeros_like(h)
    vorticity[1:-1, 1:-1] = (
        spin[1:-1, 1:-1] + (v[1:-1, 2:] - v[1:-1, 1:-1]) - (u[2:, 1:-1] - u[1:-1, 1:-1])
    ) / (0.25 * (h[1:-1, 1:-1] + h[1:-1, 2:] + h[2:, 1:-1] + h[2:, 2:]))
    energy = xp.zeros_like(h)
    energy[1:, 1:] = 0.25 * (
        u[1:, 1:] * u[1:, 1:]
        + u[1:, :-1] * u[1:, :-1]
        + v[1:, 1:] * v[1:, 1:]
        + v[:-1, 1:] * v[:-1, 1:]
    )
    head = gravity * (h + depth) + energy

    du, dv = xp.zeros_like(u), xp.zeros_like(v)
    du[1:-1, 1:-1] = (
        0.25 * vorticity[1:-1, 1:-1] * (hv[1:-1, 1:-1] + hv[1:-1, 2:])
        + 0.25 * vorticity[:-2, 1:-1] * (hv[:-2, 1:-1] + hv[:-2, 2:])
        - (head[1:-1, 2:] - head[1:-1, 1:-1])
        - drag * u[1:-1, 1:-1]
    )
    dv[1:-1, 1:-1] = (
        -0.25 * vorticity[1:-1, 1:-1] * (hu[1:-1, 1:-1] + hu[2:, 1:-1])
        - 0.25 * vorticity[1:-1, :-2] * (hu[1:-1, :-2] + hu[2:, :-2])
        - (head[2:, 1:-1] - head[1:-1, 1:-1])
        - drag * v[1:-1, 1:-1]
    )
    du[0], du[-1] = 0, 0
    dv[:, 0], dv[:, -1] = 0, 0
    u_after, v_after = u + dt * du, v + dt * dv
    u_after[:, -1] = 0
    v_after[-1] = 0

    h_after = h + 0
    h_after[1:-1, 1:-1] -= dt * (hu[1:-1, 1:-1] - hu[1:-1, :-2] + hv[1:-1, 1:-1] - hv[:-2, 1:-1])
    h_after[0] = h_after[1]
    h_after[-1] = h_after[-2]
    h_after[:, 0] = h_after[:, 1]
    h_after[:, -1] = h_after[:, -2]

    after = []
    for c in tracers:
        east, south = xp.zeros_like(c), xp.zeros_like(c)
        east[:, :-1] = xp.where(hu[:, :-1] > 0, c[:, :-1], c[:, 1:]) * hu[:, :-1]
        south[:-1] = xp.where(hv[:-1] > 0, c[:-1], c[1:]) * hv[:-1]
        dc = xp.zeros_like(c)
        dc[1:-1, 1:-1] = (
            east[1:-1, :-2] - east[1:-1, 1:-1] + south[:-2, 1:-1] - south[1:-1, 1:-1]
        ) / h[1:-1, 1:-1]
        dc[1:-1, 1:-1] += diffusion * (
            c[2:, 1:-1] + c[:-2, 1:-1] + c[1:-1, 2:] + c[1:-1, :-2] - 4 * c[1:-1, 1:-1]
        )
        c_after = c + dt * dc
        c_after[0] = c_after[1]
        c_after[-1] = c_after[-2]
        after.append(c_after)
    return h_after, u_after, v_after, *after
