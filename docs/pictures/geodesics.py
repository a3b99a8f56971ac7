"""Geodesics of the Heisenberg group: circles that lift, and close after the same time."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import subriem as sr


def draw() -> Figure:
    """A fan of one vertical momentum up to its conjugate time, in space and from above."""
    heisenberg = sr.models.heisenberg()
    angles = np.linspace(0, 2 * np.pi, 13)[:-1]
    covectors = np.column_stack([np.cos(angles), np.sin(angles), np.full(12, 2.0)])
    end = float(sr.conjugate_time(heisenberg, [0, 0, 0], covectors[0], 5.0).conjugate_time)
    fan = sr.exponential(heisenberg, [0, 0, 0], covectors, np.linspace(0, end, 101))
    figure = plt.figure(figsize=(7.4, 3.8), layout="constrained")
    space, above = figure.add_subplot(1, 2, 1, projection="3d"), figure.add_subplot(1, 2, 2)
    colours = plt.get_cmap("twilight")(np.arange(12) / 12)
    for path, colour in zip(fan.state.values, colours, strict=True):
        space.plot(*path.T, color=colour)
        above.plot(*path[:, :2].T, color=colour)
    space.plot(*fan.state.values[0, -1], "ko")
    above.plot(0, 0, "ko")
    space.set(xlabel="x", ylabel="y", zlabel="z", title=f"to the conjugate time {end:.4f}")
    above.set(xlabel="x", ylabel="y", aspect="equal", title="circles, seen from above")
    return figure
