"""Growth vectors of a tractor with two trailers over the angles between its axles."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure

import subriem as sr


def draw() -> Figure:
    """The degree of nonholonomy on a grid that contains right angles."""
    angle = np.linspace(-np.pi, np.pi, 41)
    first, second = (grid.ravel() for grid in np.meshgrid(angle, angle, indexing="ij"))
    points = np.column_stack([np.zeros((len(first), 3)), -first, -first - second])
    flag = sr.lie_flag(sr.models.trailers(2), points)
    degree = flag.degree_of_nonholonomy.values.reshape(41, 41)
    figure, axes = plt.subplots(figsize=(6, 4.6), layout="constrained")
    colours = ListedColormap(["#f0e442", "#0072b2"])
    drawn = axes.pcolormesh(
        angle, angle, degree.T, cmap=colours, norm=BoundaryNorm([3.5, 4.5, 5.5], 2)
    )
    figure.colorbar(drawn, ticks=[4, 5], label="step at which brackets fill the space")
    axes.set(
        xlabel="angle between tractor and first trailer [rad]",
        ylabel="angle between the trailers [rad]",
        title="two trailers: (2, 3, 4, 5), and (2, 3, 4, 4, 5) at right angles",
    )
    return figure
