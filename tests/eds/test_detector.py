"""Shape of lines as a detector records them."""

import numpy as np
import pytest

from hyperspy_assb.eds.detector import DetectorShape


def test_usual_detector():
    shape = DetectorShape()
    # 5.545 x 3.65 eV x a Fano factor of 0.1235.
    assert shape.width_slope == pytest.approx(8 * np.log(2) * 3.65 * 0.1235, rel=1e-3)
    assert shape.tail_depth == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [("width_slope", 0.0), ("tail_depth", -1.0), ("tail_length", np.nan), ("escape", np.inf), ("escape", [1.0])],
)
def test_what_no_detector_is_like_is_refused(name, value):
    with pytest.raises(ValueError, match=f"{name} of the detector must lie between"):
        DetectorShape(**{name: value})
