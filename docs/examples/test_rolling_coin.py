"""The rolling coin in its own tests."""

import numpy as np
from rolling_coin import rolling_coin

from subriem.testing import (
    Model,
    assert_bracket_generating,
    assert_growth_vector,
    parametrize_with_checks,
)


def test_every_place_is_reached():
    """Brackets to length three fill the space, everywhere alike."""
    assert_bracket_generating(rolling_coin(), at=[0, 0, 0, 0], step=3)
    assert_growth_vector(rolling_coin(), at=[1, 2, 0.3, 4], growth=(2, 3, 4))


@parametrize_with_checks([rolling_coin])
def test_what_every_model_must_satisfy(model, check):
    """What `subriem check` runs."""
    check(model)


def check_drives_without_slipping(model: Model) -> None:
    """No velocity has a part across the wheel."""
    points = model.structure.sample(20, np.random.default_rng(0))
    velocity = model.structure.velocity(points, np.ones((20, 2)))
    across = -np.sin(points[:, 2]) * velocity[:, 0] + np.cos(points[:, 2]) * velocity[:, 1]
    assert np.abs(across).max() < 1e-12, f"it slips by {np.abs(across).max():.2g}"


def test_it_does_not_slip():
    """A check of this model's own."""
    check_drives_without_slipping(Model(rolling_coin()))
