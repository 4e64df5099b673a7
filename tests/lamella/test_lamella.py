"""A lamella holds its signals in one frame: keys, files, frames, maps carried over, claims."""

from __future__ import annotations

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb import Lamella
from hyperspy_assb.lamella.member_frames import registration_image
from hyperspy_assb.registration.affine import Affine


def image(shape=(8, 8), scale=10.0, offset=0.0, data=None, units="nm"):
    signal = hs.signals.Signal2D(np.arange(float(np.prod(shape))).reshape(shape) if data is None else data)
    for axis in signal.axes_manager.signal_axes:
        axis.scale, axis.units, axis.offset = scale, units, offset
    return signal


def test_a_key_is_used_once():
    lamella = Lamella("L1")
    lamella.add("haadf", image())
    with pytest.raises(KeyError, match="haadf: the lamella has a Signal2D of that key"):
        lamella.add("haadf", image())


@pytest.mark.parametrize("units", ["", "px", "1/nm"])
def test_no_scale_is_named(units):
    with pytest.raises(ValueError, match="haadf: its axis y has no scale in a unit of length"):
        Lamella("L1").add("haadf", image(units=units))


def test_an_axis_that_runs_backwards_is_mirrored():
    signal = image()
    signal.axes_manager.signal_axes[0].scale = -10.0
    with pytest.raises(ValueError, match="axis x runs backwards"):
        Lamella("L1").add("haadf", signal)


def test_a_transform_that_mirrors_is_refused():
    lamella = Lamella("L1")
    lamella.add("haadf", image())
    lamella.add("eels", image())
    with pytest.raises(ValueError, match="mirrors"):
        lamella.register("haadf", transforms={"eels": Affine(np.diag([1.0, -1.0]), np.zeros(2))})


def test_what_is_not_registered_is_named():
    lamella = Lamella("L1")
    lamella.add("haadf", image())
    lamella.add("eels", image((4, 4), 20.0))
    with pytest.raises(ValueError, match="eels is not registered: call register first"):
        lamella.to_frame("eels", image(), source="haadf")


def test_a_shared_frame_needs_the_same_pixels():
    lamella = Lamella("L1")
    lamella.add("haadf", image())
    lamella.add("x", image(), frame="haadf")
    with pytest.raises(ValueError, match="share no frame"):
        lamella.add("eels", image((4, 4)), frame="haadf")
    assert np.array_equal(lamella.to_frame("haadf", image(), source="x").content, image().data)


def known(lamella):
    """A fine and a coarse member whose pixels fit into each other, four to one."""
    lamella.add("fine", image())
    lamella.add("coarse", image((4, 4), 20.0, 5.0))
    lamella.register("fine", transforms={"coarse": Affine(np.eye(2), np.zeros(2))})
    return lamella


def test_means_counts_and_errors_of_whole_pixels():
    lamella = known(Lamella("L1"))
    one = np.ones((8, 8))
    mean = lamella.to_frame("coarse", image(), std=2.0 * one, systematic=3.0 * one)
    blocks = image().data.reshape(4, 2, 4, 2)
    assert np.allclose(mean.content, blocks.mean(axis=(1, 3)))
    assert np.allclose(mean.content_std, 1.0)
    assert np.allclose(mean.content_systematic, 3.0)
    counts = lamella.to_frame("coarse", image(), how="counts", std=2.0 * one)
    assert np.allclose(counts.content, blocks.sum(axis=(1, 3)))
    assert np.allclose(counts.content_std, 4.0)
    assert np.allclose(mean.margin, 0.0)


def test_a_finer_frame_says_that_pixels_share_a_measurement():
    found = known(Lamella("L1")).to_frame("fine", image((4, 4), 20.0, 5.0))
    assert np.allclose(found.content, np.kron(image((4, 4)).data, np.ones((2, 2))))
    assert any("share one measurement" in note for note in found.notes)


def test_labels_keep_away_from_boundaries_by_the_error_of_the_registration():
    lamella = Lamella("L1")
    labels = np.repeat(np.array([[1, 2]]), 8, axis=1).repeat(16, axis=0)
    lamella.add("fine", image((16, 16)))
    lamella.add("acom", image((16, 16)))
    covariance = np.zeros((6, 6))
    covariance[0, 0] = covariance[1, 1] = 15.0**2
    lamella.register("fine", transforms={"acom": Affine(np.eye(2), np.zeros(2), covariance=covariance)})
    found = lamella.to_frame("fine", labels, source="acom")
    assert np.allclose(found.margin, 15.0 * np.sqrt(2.0))
    assert (found.content[8, :5] == 1).all()
    assert (found.content[8, 6:10] == -1).all()
    assert (found.content[8, 11:] == 2).all()


def test_one_row_a_pixel_or_a_region():
    lamella = known(Lamella("L1"))
    table = lamella.table("coarse")
    assert list(table.columns) == ["y (nm)", "x (nm)", "fine: counts", "coarse: counts"]
    assert len(table) == 16
    regions = lamella.table("coarse", region=np.repeat([[1, 1, 2, 2]], 4, axis=0), names=["left", "right"])
    assert regions.index.tolist() == ["left", "right"]
    assert regions.loc["left", "pixels"] == 8


def test_saved_with_paths_and_hashes_and_changes_are_named(tmp_path):
    signal = image()
    path = tmp_path / "haadf.hspy"
    signal.save(path)
    lamella = Lamella("L1")
    lamella.add("haadf", path)
    alone = Lamella("L2")
    alone.add("x", image())
    with pytest.raises(ValueError, match="x: only in memory"):
        alone.save(tmp_path / "L2.hspy")
    lamella.register("haadf")
    lamella.save(tmp_path / "L1.hspy")
    back = hyperspy_assb.load(tmp_path / "L1.hspy")
    assert back.name == "L1"
    assert back.check_inputs() == ()
    assert np.array_equal(np.asarray(back["haadf"].data), signal.data)
    moved = tmp_path / "moved.hspy"
    path.rename(moved)
    again = hyperspy_assb.load(tmp_path / "L1.hspy")
    assert "haadf: its file" in again.check_inputs()[0]
    with pytest.raises(FileNotFoundError, match=r"haadf: its file .* was moved or deleted"):
        again["haadf"]
    again.relocate("haadf", moved)
    assert again.check_inputs() == ()
    (signal * 2.0).save(tmp_path / "other.hspy")
    with pytest.raises(OSError, match="was changed since it was added"):
        again.relocate("haadf", tmp_path / "other.hspy")


def test_the_report_is_one_page_that_escapes_and_holds_the_maps(tmp_path):
    lamella = Lamella("<b>L1</b>")
    lamella.add("</script><img>", image())
    lamella.register("</script><img>")
    lamella.report(tmp_path / "L1.html")
    page = (tmp_path / "L1.html").read_text()
    assert "<b>L1" not in page
    assert "<img>" not in page
    assert page.count("</script>") == 1
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")


def test_low_loss_spectra_are_registered_by_their_thickness():
    """All counts are those of the beam in every pixel; what the zero-loss peak lacks tells t/λ."""
    energy = np.arange(-10.0, 50.0, 0.5)
    thickness = np.linspace(0.1, 1.0, 48).reshape(6, 8)
    zero = np.exp(-0.5 * (energy / 0.5) ** 2)
    loss = np.exp(-0.5 * ((energy - 22.0) / 4.0) ** 2)
    elastic = np.exp(-thickness)[..., None]
    spectra = hs.signals.Signal1D(1e6 * (elastic * zero / zero.sum() + (1.0 - elastic) * loss / loss.sum()))
    spectra.axes_manager.signal_axes[0].offset, spectra.axes_manager.signal_axes[0].scale = -10.0, 0.5
    spectra.set_signal_type("EELS_ASSB")
    assert np.allclose(registration_image(spectra), thickness, atol=1e-3)
    # Without the zero-loss peak all counts are left.
    assert np.allclose(registration_image(spectra.isig[60:]), spectra.isig[60:].data.sum(axis=-1))
