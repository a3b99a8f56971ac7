"""Structures made without the checks of `Structure.define`, so that they can be wrong."""

import casadi as ca
import numpy as np

from subriem.structure import Structure


def structure_by_hand(coordinates, frame, metric=None, *, kind=Structure, **given):
    names = tuple(coordinates.split())
    state = ca.vertcat(*(ca.SX.sym(name) for name in names))
    fields = ca.horzcat(*(ca.vertcat(*field) for field in frame(*state.elements())))
    m = fields.shape[1]
    inner = ca.SX.eye(m) if metric is None else ca.SX(metric(*state.elements()))
    model = ca.Function(
        "model",
        [state, ca.SX(0, 1)],
        [ca.densify(fields), ca.densify(inner), ca.SX.zeros(len(names), 1), ca.SX(0, 1)],
    )
    settings = {"parameters": {}, "periods": {}, "bounds": {}, **given}
    return kind(
        "by_hand", names, model, field_names=tuple(f"f{k + 1}" for k in range(m)), **settings
    )


def drifting(name="oscillator"):
    """q' = (v, -x) + u (0, 1): a harmonic oscillator that is pushed."""
    return Structure.define(name, "x v", lambda q: [(0, 1)], drift=lambda q: (q.v, -q.x))


def circle(samples, turns=1.0):
    """A lift of the unit circle to the Heisenberg group: the area swept is t / 2."""
    t = np.linspace(0, 2 * np.pi * turns, samples)
    return t, np.stack([np.cos(t), np.sin(t), t / 2], axis=1)
