"""Flags decided by tolerance against flags that are proved, on random fields at singular points."""

import casadi as ca
import numpy as np
import pytest

import subriem as sr


def random_structure(generator):
    """Sparse fields with small integer coefficients, some with a sine or a cosine."""
    n, m = int(generator.integers(2, 6)), int(generator.integers(1, 4))
    functions = [lambda x: 1, ca.sin, ca.cos] if generator.random() < 0.3 else [lambda x: 1]

    def term():
        letters = generator.integers(0, n, int(generator.integers(0, 4))).tolist()
        which = functions[int(generator.integers(len(functions)))]
        return int(generator.integers(-2, 3)), letters, which, int(generator.integers(n))

    def entry():
        return [term() for _ in range(int(generator.integers(0, 3)))]

    table = [[entry() for _ in range(n)] for _ in range(m)]

    def frame(q):
        def value(terms):
            total = ca.SX(0)
            for factor, letters, which, argument in terms:
                product = ca.SX(factor) * which(q[argument])
                for letter in letters:
                    product = product * q[letter]
                total = total + product
            return total

        return [tuple(value(terms) for terms in field) for field in table]

    return sr.Structure.define("random", [f"x{k}" for k in range(n)], frame)


@pytest.mark.parametrize("seed", range(40))
def test_no_flag_contradicts_its_proof(seed):
    generator = np.random.default_rng(seed)
    structure = random_structure(generator)
    n = structure.dimension
    points = [
        [0] * n,
        generator.integers(-1, 2, n).tolist(),
        generator.standard_normal(n).tolist(),
    ]
    for at in points:
        flag = sr.lie_flag(structure, at, max_step=8, certify=True)
        vector = flag.growth_vector.values
        assert (flag.lower_bound.values <= vector).all()
        assert (vector <= flag.upper_bound.values).all()
        if flag.status == "filled":
            assert vector[-1] == n
        if flag.status == "closed" and flag.certified:
            assert int(flag.upper_bound[-1]) == vector[-1]
