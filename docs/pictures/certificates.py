"""Evidence and proof: how clear the decisions of a flag by tolerance are, and what is proved."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

import subriem as sr


def draw() -> Figure:
    """Four trailers at right angles: directions counted and dropped, in units of the noise."""
    trailers = sr.models.trailers(4)
    right = [0, 0, *(f"-{k}*pi/2" for k in range(5))]
    flag = sr.lie_flag(trailers, at=right, certify=True)
    step = flag.step.values
    accepted, rejected = flag.accepted.values, flag.rejected.values
    figure, axes = plt.subplots(figsize=(7.4, 4.2), layout="constrained")
    axes.semilogy(step, accepted, "o", color="#0072b2", label="faintest direction counted")
    axes.semilogy(
        step,
        np.where(rejected > 0, rejected, np.nan),
        "v",
        color="#d55e00",
        label="largest direction dropped",
    )
    axes.axhline(100, color="k", ls=":", label="counted above a hundred times the noise")
    for k, (dimension, lower) in enumerate(
        zip(flag.growth_vector.values, flag.lower_bound.values, strict=True)
    ):
        text = f"{dimension}" + ("" if lower == dimension else f" (proved {lower:.0f})")
        axes.annotate(text, (step[k], accepted[k]), (0, 7), textcoords="offset points", ha="center")
    proved = "proved" if bool(flag.certified) else "not proved to the end"
    axes.set(
        xlabel="step k, with dim D^k above the mark",
        ylabel="in units of what perturbations explain",
        title=f"four trailers, every axle at a right angle: {proved}",
    )
    axes.margins(y=0.15)
    axes.set_ylim(bottom=1e-13)
    axes.legend(loc="lower right")
    return figure
