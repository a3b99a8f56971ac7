"""The methods of `gram.py`: D D' of a network in float64, ours and the peers.

    PYTHON gram_methods.py METHOD PROBLEM.npz LIMIT

computes it twice in this process and prints times, the error against the reference in the problem's
file, and the largest memory. A method imports its library itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
from measure import peak_memory, tell, timed

#: Channels and kernel of the small network of convolutions on 8 x 8 digits.
CHANNELS, KERNEL = (8, 16), 3
Make = Callable[[], np.ndarray]


class Problem:
    """A network by its weights, and the inputs."""

    def __init__(self, path: str) -> None:
        with np.load(path) as file:
            self.kind, self.inputs = str(file["kind"]), file["inputs"]
            self.weights = [file[f"w{k}"] for k in range(int(file["arrays"]))]
            self.reference = file.get("reference")

    def module(self) -> Any:
        """The network in torch, float64."""
        import torch

        torch.set_num_threads(1)
        module = torch_network(self.kind)
        with torch.no_grad():
            for parameter, value in zip(module.parameters(), self.weights, strict=True):
                parameter.copy_(torch.as_tensor(value))
        return module


def torch_network(kind: str) -> Any:
    """64-256-256-10, or two convolutions and a linear layer; tanh."""
    from torch import nn

    if kind == "mlp":
        layers = [nn.Linear(64, 256), nn.Tanh(), nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 10)]
        return nn.Sequential(*layers).double()
    first, second = CHANNELS
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        nn.Conv2d(1, first, KERNEL),
        nn.Tanh(),
        nn.Conv2d(first, second, KERNEL),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(second * 16, 10),
    ).double()


def ours(problem: Problem) -> Make:
    """`OutputMap.gram`, checked by one action of D D' as always."""
    import subriem as sr

    module = problem.module()
    return lambda: sr.OutputMap(module, problem.inputs).gram().numpy()


def torch_func(problem: Problem) -> Make:
    """`torch.func` Jacobians of single samples, mapped, then one product."""
    import torch
    from torch.func import functional_call, jacrev, vmap

    module, inputs = problem.module(), torch.as_tensor(problem.inputs)
    parameters = {name: p.detach() for name, p in module.named_parameters()}

    def one(named: Any, sample: Any) -> Any:
        return functional_call(module, named, (sample[None],))[0]

    def make() -> np.ndarray:
        blocks = vmap(jacrev(one), (None, 0))(parameters, inputs)
        rows = len(inputs) * 10
        gram = torch.zeros(rows, rows, dtype=torch.float64)
        for block in blocks.values():
            flat = block.reshape(rows, -1)
            gram.addmm_(flat, flat.mT)
        return gram.numpy()

    return make


def nngeometry(problem: Problem) -> Make:
    """`GramMatrix` in its dense form, the whole set as one batch."""
    import torch
    from nngeometry.gram import GramMatrix
    from nngeometry.object import FMatDense

    module, inputs = problem.module(), torch.as_tensor(problem.inputs)
    data = torch.utils.data.TensorDataset(inputs)
    rows = len(inputs) * 10

    def make() -> np.ndarray:
        loader = torch.utils.data.DataLoader(data, batch_size=len(inputs))
        found = GramMatrix(module, loader, representation=FMatDense).data
        # (Q, N, Q, N)
        return found.permute(1, 0, 3, 2).reshape(rows, rows).detach().numpy()

    return make


def neural_tangents(problem: Problem) -> Make:
    """`empirical_ntk_fn` with structured derivatives, all output axes kept, under jit."""
    import jax
    import jax.numpy as jnp
    import neural_tangents as nt

    jax.config.update("jax_enable_x64", True)
    weights = [jnp.asarray(w) for w in problem.weights]
    inputs = jnp.asarray(problem.inputs)
    rows = len(inputs) * 10

    def apply(params: list[Any], x: Any) -> Any:
        if problem.kind == "mlp":
            for k in range(0, len(params), 2):
                x = x @ params[k].T + params[k + 1]
                x = jnp.tanh(x) if k + 2 < len(params) else x
            return x
        x = x.reshape(-1, 1, 8, 8)
        for k in (0, 2):
            x = jax.lax.conv_general_dilated(x, params[k], (1, 1), "VALID")
            x = jnp.tanh(x + params[k + 1][None, :, None, None])
        return x.reshape(len(x), -1) @ params[4].T + params[5]

    kernel = nt.empirical_ntk_fn(
        apply,
        trace_axes=(),
        vmap_axes=0,
        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
    )
    compiled = jax.jit(lambda params, x: kernel(x, None, params))

    def make() -> np.ndarray:
        # (N, N, Q, Q)
        found = compiled(weights, inputs).transpose(0, 2, 1, 3)
        return np.asarray(found).reshape(rows, rows)

    return make


def curvlinops(problem: Problem) -> Make:
    """`JacobianLinearOperator` times its adjoint on the identity."""
    import torch
    from curvlinops import JacobianLinearOperator

    module, inputs = problem.module(), torch.as_tensor(problem.inputs)
    parameters = [p for p in module.parameters() if p.requires_grad]
    targets = torch.zeros(len(inputs), 10, dtype=torch.float64)
    rows = len(inputs) * 10

    def make() -> np.ndarray:
        operator = JacobianLinearOperator(module, parameters, [(inputs, targets)])
        identity = torch.eye(rows, dtype=torch.float64)
        # in blocks: the whole D' would take a backward pass of all rows at once
        blocks = [
            operator @ (operator.adjoint() @ identity[:, k : k + 250]) for k in range(0, rows, 250)
        ]
        return torch.cat(blocks, 1).detach().numpy()

    return make


#: Name: (package, method, name of its environment).
METHODS: dict[str, tuple[str, Callable[[Problem], Make]]] = {
    "subriem gram": ("subriem", ours),
    "torch.func Jacobian, product": ("torch", torch_func),
    "nngeometry GramMatrix": ("nngeometry", nngeometry),
    "neural-tangents, structured": ("neural-tangents", neural_tangents),
    "curvlinops Jacobian operator": ("curvlinops-for-pytorch", curvlinops),
}


def main(name: str, path: str, limit: float) -> None:
    """Run a method cold, then warm where that took less than half the limit."""
    package, method = METHODS[name]
    problem = Problem(path)
    make = method(problem)
    answer: dict[str, Any] = {"version": f"{package} {version(package)}"}
    for kind in ("cold", "warm"):
        found, wall, cpu = timed(make)
        memory = peak_memory()
        assert problem.reference is not None
        error = np.abs(found - problem.reference).max() / np.abs(problem.reference).max()
        answer |= {kind: [wall, cpu], "error": float(error), "memory": memory}
        tell(answer)
        if wall > limit / 2:
            break


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
