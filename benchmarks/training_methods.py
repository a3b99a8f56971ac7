"""The methods of `training.py`, ours and the peers, each as its users would write it.

    PYTHON training_methods.py METHOD PROBLEM.npz LIMIT

runs one method twice in this process (*cold*: the first call, with all that is traced or compiled;
*warm*: the second) and prints when each level of relative loss was reached. A method imports its
library itself: an environment need not have the others.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from measure import peak_memory, tell

LEVELS = (1e-4, 1e-8, 1e-12)
Arrays = list[np.ndarray]
#: Weights and biases so far, when the recorder asks for them.
Get = Callable[[], Arrays]


class Problem:
    """Inputs, targets and initial weights (out x in) and biases of a tanh network."""

    def __init__(self, path: str) -> None:
        with np.load(path) as file:
            self.inputs, self.targets = file["inputs"], file["targets"]
            self.name = str(file["name"])
            self.weights = [file[f"w{k}"] for k in range(int(file["arrays"]))]
        self.initial = self.squares(self.weights)

    def squares(self, weights: Arrays) -> float:
        """|x - y|^2 by NumPy: every method's answer is checked with it."""
        return float(np.sum((forward(weights, self.inputs)[-1] - self.targets) ** 2))

    def split(self, flat: np.ndarray) -> Arrays:
        """Weights and biases from one vector, in torch's order."""
        ends = np.cumsum([w.size for w in self.weights])[:-1]
        parts = np.split(np.asarray(flat), ends)
        return [part.reshape(w.shape) for part, w in zip(parts, self.weights, strict=True)]

    def flat(self) -> np.ndarray:
        """The initial weights and biases as one vector."""
        return np.concatenate([w.ravel() for w in self.weights])


def forward(weights: Arrays, inputs: np.ndarray) -> Arrays:
    """Values of all layers, the inputs first; tanh between linear layers."""
    values = [inputs]
    for k in range(0, len(weights), 2):
        z = values[-1] @ weights[k].T + weights[k + 1]
        values.append(np.tanh(z) if k + 2 < len(weights) else z)
    return values


def jacobian(weights: Arrays, inputs: np.ndarray) -> np.ndarray:
    """The dense Jacobian of the outputs, samples first, layer by layer."""
    values = forward(weights, inputs)
    samples, width = values[-1].shape
    signal = np.broadcast_to(np.eye(width), (samples, width, width))
    columns: Arrays = []
    for k in range(len(weights) - 2, -1, -2):
        value = values[k // 2]
        blocks = [(signal[..., None] * value[:, None, None, :]).reshape(samples, width, -1), signal]
        columns = blocks + columns
        if k:
            signal = (signal @ weights[k]) * (1.0 - value**2)[:, None, :]
    return np.concatenate(columns, axis=2).reshape(samples * width, -1)


class Over(Exception):
    """The time is up, or nothing is gained any more."""


class Recorder:
    """When each level was first reached, and with which parameters."""

    def __init__(self, problem: Problem, limit: float, last: float) -> None:
        self.problem, self.limit, self.last = problem, limit, last
        self.reached: dict[float, tuple[float, float, Arrays]] = {}
        self.best, self.why = 1.0, ""
        self._last: Get = lambda: problem.weights
        self.start, self.cpu = time.perf_counter(), time.process_time()
        self._gain, self._gained, self._notes = 1.0, self.start, 0

    def note(self, relative: float, parameters: Get) -> None:
        """Take a relative loss; ends the run by `Over` where nothing more is wanted."""
        now = time.perf_counter()
        self._last = parameters
        if relative < self.best:
            self.best = relative
            for level in LEVELS:
                if relative <= level and level not in self.reached:
                    spent = time.process_time() - self.cpu
                    self.reached[level] = (now - self.start, spent, parameters())
        if self.best < 0.99 * self._gain:
            self._gain, self._gained, self._notes = self.best, now, 0
        self._notes += 1
        if self.best <= self.last:
            raise Over("reached")
        if now - self.start > self.limit:
            raise Over(f"not within {self.limit:g} s")
        if self._notes > 50 and now - self._gained > max(5.0, 0.25 * (now - self.start)):
            raise Over("stalled")

    def answer(self) -> dict[str, Any]:
        """Times and losses by level, the losses by NumPy."""
        levels = {
            f"{level:g}": [wall, cpu, self.problem.squares(weights) / self.problem.initial]
            for level, (wall, cpu, weights) in self.reached.items()
        }
        final = self.problem.squares(self._last()) / self.problem.initial
        return {"levels": levels, "best": self.best, "final": final, "why": self.why}


# ------------------------------------------------------------------ torch: ours and peers


def torch_network(problem: Problem) -> Any:
    """The network as a torch module with the initial parameters."""
    import torch

    torch.set_num_threads(1)
    layers: list[Any] = []
    for k in range(0, len(problem.weights), 2):
        out, fan_in = problem.weights[k].shape
        layers += [torch.nn.Linear(fan_in, out), torch.nn.Tanh()]
    module = torch.nn.Sequential(*layers[:-1]).double()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), problem.weights, strict=True):
            parameter.copy_(torch.as_tensor(value))
    return module


def copied(module: Any) -> Arrays:
    """The parameters of a module now."""
    return [parameter.detach().numpy().copy() for parameter in module.parameters()]


def ours_train(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """`subriem.train`."""
    import subriem as sr

    module = torch_network(problem)
    loss = sr.SquaredLoss(problem.targets)
    half = problem.initial / (2 * len(problem.inputs))

    def run(recorder: Recorder) -> dict[str, Any]:
        outputs = sr.OutputMap(module, problem.inputs)
        ended = ""

        def seen(step: Any) -> bool:
            nonlocal ended
            try:
                recorder.note(step.loss / half, lambda: problem.split(step.parameters.numpy()))
            except Over as over:
                # not raised: the run's counts are wanted
                ended = str(over)
            return bool(ended)

        found = sr.train(
            outputs,
            loss,
            tolerance=1e-12 * half,
            max_steps=10**6,
            callback=seen,
            progress=False,
        )
        return {**counted(problem, found), "why": ended or found.status}

    return run


def counted(problem: Problem, found: Any) -> dict[str, Any]:
    """Flops of a run of ours: linear algebra of NQ x NQ matrices and actions of D."""
    samples, width = problem.targets.shape
    size, parameters = samples * width, sum(w.size for w in problem.weights)
    fans = [w.shape for w in problem.weights[::2]]
    steps, factors = len(found.step) - 1, int(found.factorizations)
    if found.method == "cholesky":
        # symmetric halves of the Gram matrices of signals and of activations
        gram = sum(size**2 * out + samples**2 * fan_in for out, fan_in in fans)
        flops = steps * gram + factors * (size**3 / 3 + 4 * size**2)
    else:
        gram = sum(width * samples**2 * (out + fan_in) for out, fan_in in fans)
        action = 8 * samples * parameters + 4 * width * samples**2
        flops = steps * gram + factors * width * samples**3 / 3
        flops += int(found.iterations[-1]) * action
    # value, D step and D'r of every step tried
    flops += int(found.tried[-1]) * 10 * samples * parameters
    return {"flops": flops, "method": found.method, "steps": steps}


def ours_flow(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """`subriem.flow` along the adapted gradient: the path is followed, not only its end."""
    import subriem as sr

    module = torch_network(problem)
    loss = sr.SquaredLoss(problem.targets)
    half = problem.initial / (2 * len(problem.inputs))

    def run(recorder: Recorder) -> dict[str, Any]:
        outputs = sr.OutputMap(module, problem.inputs)

        def seen(point: Any) -> None:
            recorder.note(point.loss / half, lambda: problem.split(point.parameters.numpy()))

        found = sr.flow(
            outputs,
            loss,
            kind="adapted",
            tolerance=1e-12 * half,
            callback=seen,
            progress=False,
        )
        return {"why": found.status}

    return run


def adam(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """Adam on the whole batch; rate, decay and steps found beforehand (`--tune`)."""
    import torch

    inputs, targets = torch.as_tensor(problem.inputs), torch.as_tensor(problem.targets)
    rate, decay, steps = options["rate"], options["decay"], options["steps"]
    factors = np.arange(steps) / steps
    rates = rate * (0.5 * (1 + np.cos(np.pi * factors)) if decay == "cosine" else 1e-4**factors)

    def run(recorder: Recorder) -> dict[str, Any]:
        module = torch_network(problem)
        optimizer = torch.optim.Adam(module.parameters(), fused=True)
        group = optimizer.param_groups[0]
        for step in range(steps):
            optimizer.zero_grad()
            squares = (module(inputs) - targets).square().sum()
            recorder.note(squares.item() / problem.initial, lambda: copied(module))
            squares.div(targets.numel()).backward()
            group["lr"] = rates[step]
            optimizer.step()
        return {"why": f"its {steps} steps done"}

    return run


def lbfgs(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """Torch's L-BFGS with strong Wolfe line searches and 100 pairs."""
    import torch

    inputs, targets = torch.as_tensor(problem.inputs), torch.as_tensor(problem.targets)

    def run(recorder: Recorder) -> dict[str, Any]:
        module = torch_network(problem)
        optimizer = torch.optim.LBFGS(
            module.parameters(),
            max_iter=10**6,
            max_eval=10**7,
            history_size=100,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Any:
            optimizer.zero_grad()
            squares = (module(inputs) - targets).square().sum()
            recorder.note(squares.item() / problem.initial, lambda: copied(module))
            squares.backward()
            return squares

        optimizer.step(closure)
        return {"why": "no further step"}

    return run


def torch_lm(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """`torch-levenberg-marquardt` with its defaults, solved by Cholesky."""
    import torch
    from torch_levenberg_marquardt.training import LevenbergMarquardtModule

    inputs, targets = torch.as_tensor(problem.inputs), torch.as_tensor(problem.targets)

    def run(recorder: Recorder) -> dict[str, Any]:
        module = torch_network(problem)
        trainer = LevenbergMarquardtModule(module, solve_method="cholesky")
        mean = problem.initial / problem.targets.size
        while True:
            _, loss, stop, _ = trainer.training_step(inputs, targets)
            recorder.note(loss.item() / mean, lambda: copied(module))
            if stop:
                return {"why": "its damping is at the largest"}

    return run


# ------------------------------------------------------------------ SciPy


def scipy(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """`least_squares`, trust region, with the exact dense Jacobian."""
    from scipy.optimize import least_squares

    inputs, targets = problem.inputs, problem.targets

    def run(recorder: Recorder) -> dict[str, Any]:
        def residual(flat: np.ndarray) -> np.ndarray:
            left = (forward(problem.split(flat), inputs)[-1] - targets).ravel()
            kept = flat.copy()
            recorder.note(left @ left / problem.initial, lambda: problem.split(kept))
            return left

        found = least_squares(
            residual,
            problem.flat(),
            lambda flat: jacobian(problem.split(flat), inputs),
            method="trf",
            tr_solver=options["solver"],
            max_nfev=10**6,
            **dict.fromkeys(("ftol", "xtol", "gtol"), 1e-15),
        )
        return {"why": found.message}

    return run


# ------------------------------------------------------------------ JAX


def jax_residual(problem: Problem) -> Any:
    """Residuals of a list of weights and biases."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    inputs, targets = jnp.asarray(problem.inputs), jnp.asarray(problem.targets)

    def residual(weights: list[Any]) -> Any:
        value = inputs
        for k in range(0, len(weights), 2):
            value = value @ weights[k].T + weights[k + 1]
            value = jnp.tanh(value) if k + 2 < len(weights) else value
        return (value - targets).ravel()

    return residual


def optimistix(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """Optimistix' Levenberg-Marquardt, stepped from outside, every step under jit."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import lineax as lx
    import optimistix as optx

    residual = jax_residual(problem)
    dense = options["solver"] == "dense"
    linear = lx.QR()
    if not dense:
        # the test is entry by entry, atol + rtol |b|: pixels that are always 0 need an atol
        cg = lx.CG(rtol=options["rtol"], atol=options["atol"], max_steps=options["max_steps"])
        linear = lx.Normal(cg)
    # rows of the Jacobian where there are fewer of them than columns
    how = {"jac": "bwd" if dense else "fwd"}

    def function(weights: Any, _: Any) -> Any:
        left = residual(weights)
        return left, jnp.sum(left**2)

    solver = optx.LevenbergMarquardt(rtol=1e-15, atol=1e-15, linear_solver=linear)
    first = [jnp.asarray(w) for w in problem.weights]
    shapes = jax.eval_shape(lambda w: function(w, None), first)
    step = eqx.filter_jit(lambda y, state: solver.step(function, y, None, how, state, frozenset()))
    begin = eqx.filter_jit(lambda y: solver.init(function, y, None, how, *shapes, frozenset()))

    def run(recorder: Recorder) -> dict[str, Any]:
        weights, state = first, begin(first)
        while True:
            weights, state, squares = step(weights, state)
            kept = weights
            recorder.note(
                float(squares) / problem.initial, lambda kept=kept: [np.asarray(w) for w in kept]
            )

    return run


def nlls_gram(problem: Problem, options: dict[str, Any]) -> Callable[[Recorder], dict[str, Any]]:
    """nlls-gram's Levenberg-Marquardt with geodesic acceleration, stepped under jit."""
    import jax
    import jax.numpy as jnp
    import nlls_gram as ng

    residual = jax_residual(problem)
    linear = ng.Cholesky()
    if options["solver"] == "cg":
        linear = ng.GramCG(ng.IdentityPreconditioner(), tol=options["rtol"])
    solver = ng.LevenbergMarquardt(residual, linear_solver=linear)
    step = jax.jit(solver.update)
    first = [jnp.asarray(w) for w in problem.weights]

    def run(recorder: Recorder) -> dict[str, Any]:
        weights, state = first, solver.init(first)
        while True:
            weights, state, info = step(weights, state)
            kept = weights
            recorder.note(
                float(info.loss) / problem.initial,
                lambda kept=kept: [np.asarray(w) for w in kept],
            )

    return run


#: Name: (module whose version is told, the method, its options).
METHODS: dict[str, tuple[str, Callable[..., Any], dict[str, Any]]] = {
    "subriem train": ("subriem", ours_train, {}),
    "subriem flow, adapted": ("subriem", ours_flow, {}),
    "Adam": ("torch", adam, {}),
    "torch L-BFGS": ("torch", lbfgs, {}),
    "torch-levenberg-marquardt": ("torch-levenberg-marquardt", torch_lm, {}),
    "SciPy least_squares": ("scipy", scipy, {"solver": "exact"}),
    "SciPy least_squares, LSMR": ("scipy", scipy, {"solver": "lsmr"}),
    "Optimistix LM, dense": ("optimistix", optimistix, {"solver": "dense"}),
    "Optimistix LM, CG": (
        "optimistix",
        optimistix,
        {"solver": "cg", "rtol": 1e-2, "atol": 1e-8, "max_steps": 100},
    ),
    "nlls-gram, Cholesky": ("nlls-gram", nlls_gram, {"solver": "cholesky"}),
    "nlls-gram, CG": ("nlls-gram", nlls_gram, {"solver": "cg", "rtol": 1e-2}),
}


def once(problem: Problem, run: Any, limit: float, last: float) -> dict[str, Any]:
    """One timed run."""
    recorder = Recorder(problem, limit, last)
    extra: dict[str, Any] = {}
    try:
        extra = run(recorder)
        recorder.why = extra.pop("why")
    except Over as over:
        recorder.why = str(over)
    return {**recorder.answer(), **extra}


def main(name: str, path: str, limit: float, options: dict[str, Any]) -> None:
    """Run a method cold and, where it did not take long, warm."""
    package, make, usual = METHODS[name.partition(" for ")[0]]
    problem = Problem(path)
    last = options.pop("last", LEVELS[-1])
    run = make(problem, {**usual, **options})
    start = time.perf_counter()
    answer = {"version": f"{package} {version(package)}"}
    answer["cold"] = once(problem, run, limit, last)
    tell({**answer, "memory": peak_memory()})
    if time.perf_counter() - start < limit / 3:
        answer["warm"] = once(problem, run, limit, last)
        tell({**answer, "memory": peak_memory()})


if __name__ == "__main__":
    given = json.loads(sys.argv[4]) if len(sys.argv) > 4 else {}
    main(sys.argv[1], str(Path(sys.argv[2])), float(sys.argv[3]), given)
