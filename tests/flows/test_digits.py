"""Raw, unstandardised scans and a narrow network: D loses rank at the target itself."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import subriem as sr


@pytest.mark.slow
def test_raw_digits_are_learnt_by_a_narrow_network_and_it_is_said_how():
    digits = load_digits()
    count = 100
    outputs = sr.OutputMap(
        sr.models.multilayer_perceptron([64, 32, 10]), digits.data[:count], memory=4 * 10**9
    )
    loss = sr.SquaredLoss(np.eye(10)[digits.target[:count]])
    orbit = sr.flow(outputs, loss, rtol=1e-2, keep=())
    assert orbit.regime == "full row rank"
    assert orbit.status == "converged"
    expected = orbit.initial_loss * np.exp(-2 * orbit.time / count)
    assert float(abs(orbit.loss / expected - 1).max()) < 1e-6
    assert float(orbit.loss[-1] / orbit.loss[0]) == pytest.approx(1e-12, rel=1e-6)
    # 100 samples, 32 + 1 columns: the smallest singular value falls with the distance that is
    # left, and the Gram matrix no longer serves.
    assert float(orbit.smallest_singular_value[-1]) < 1e-5
    assert orbit.factorizations["cholesky"] > 0
    assert orbit.factorizations["orthogonal"] > 0
    # NQ = 1000: factors are reused as preconditioners on the way.
    assert orbit.krylov_iterations > 0
