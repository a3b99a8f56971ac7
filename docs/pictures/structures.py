"""The distribution of the unicycle: where it may go, and the directions in which it may not."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import subriem as sr


def draw() -> Figure:
    """Velocities of a circle of controls, at points of SE(2)."""
    unicycle = sr.models.unicycle()
    figure = plt.figure(figsize=(7, 4.6), layout="constrained")
    axes = figure.add_subplot(projection="3d")
    angles = np.linspace(0, 2 * np.pi, 60)
    for x in (-1.0, 0.0, 1.0):
        for theta in np.linspace(0, np.pi, 5):
            at = np.array([x, 0.0, theta])
            disc = np.array([unicycle.velocity(at, [np.cos(a), np.sin(a)]) for a in angles])
            ring = at + 0.32 * disc
            axes.plot(*ring.T, color="#0072b2", lw=1)
            for field, colour in zip(unicycle.frame_at(at).T, ("#d55e00", "#009e73"), strict=True):
                axes.quiver(*at, *(0.32 * field), color=colour, arrow_length_ratio=0.25)
    axes.set(xlabel="x", ylabel="y", zlabel="theta [rad]", ylim=(-1, 1))
    axes.set_title("unit controls of the unicycle: drive (orange), turn (green)")
    axes.view_init(20, -60)
    return figure
