"""One weighting of spots, for arrays and in compiled code."""

from __future__ import annotations

import numpy as np

from hyperspy_assb.acom.templates.bank import SpotWeighting, spot_weight


def test_arrays_and_compiled_code_weigh_alike(rng):
    intensity, radius = rng.uniform(1e-6, 10.0, 50), rng.uniform(0.1, 1.5, 50)
    weighting = SpotWeighting(0.3, 0.5)
    compiled = [spot_weight(i, q * q, *weighting) for i, q in zip(intensity, radius, strict=True)]
    np.testing.assert_allclose(compiled, weighting.of(intensity, radius), rtol=1e-12)
    assert weighting.of(np.zeros(1), np.ones(1)) == 0.0
