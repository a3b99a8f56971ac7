"""Four flows of one small network, from one start."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

import subriem as sr


def draw() -> Figure:
    """Loss over time, and the path of the outputs of two samples."""
    network = sr.models.multilayer_perceptron([1, 12, 1])
    outputs = sr.OutputMap(network, [[-1.0], [0.5], [1.0]])
    loss = sr.SquaredLoss([1.0, -1.0, 0.5])
    orbits = {
        "adapted": sr.flow(outputs, loss, "adapted", tolerance=1e-6),
        "interpolated": sr.flow(outputs, loss, "interpolated", tau=0.5, tolerance=1e-6),
        "gradient": sr.flow(outputs, loss, "gradient", tolerance=1e-6),
    }
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6), layout="constrained")
    colours = ("#0072b2", "#009e73", "#d55e00")
    for (kind, orbit), colour in zip(orbits.items(), colours, strict=True):
        left.semilogy(orbit.time, orbit.loss, color=colour, label=kind)
        first, second = orbit.outputs.values[:, 0, 0], orbit.outputs.values[:, 1, 0]
        right.plot(first, second, color=colour)
    adapted = orbits["adapted"]
    left.semilogy(adapted.time, adapted.predicted_loss, "k:", label="exp(-2s/N) C_0")
    right.plot(1.0, -1.0, "k*", ms=10)
    left.set(xlabel="time s of the flow", ylabel="loss", title="loss")
    right.set(xlabel="output of sample 1", ylabel="output of sample 2", title="outputs")
    left.legend()
    return figure
