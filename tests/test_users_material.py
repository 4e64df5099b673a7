"""A material of the user's own, from a table and a CIF alone, in every technique; no file of the package knows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import hyperspy.api as hs
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import hyperspy_assb
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.report.edx import analyse_edx, write_edx
from hyperspy_assb.report.orientations import analyse_orientations, write_orientations
from hyperspy_assb.simulation import (
    DiffractionConditions,
    EELSConditions,
    patterns_to_signal,
    simulate_patterns,
    simulate_spectra,
    spectra_to_signal,
)

COLOUR, EMPTIED_COLOUR = "#0b6e4f", "#c8553d"
TABLE = f"""
[[material]]
name = "layered cobaltate"
aliases = ["my LCO"]
formula = "LiCoO2"
cif = "cobaltate.cif"
colour = "{COLOUR}"
role = "electrode"
sources = ["measured at home"]

[[material]]
name = "emptied cobaltate"
formula = "CoO2"
cell = [2.822, 2.822, 4.293, 90, 90, 120]
formula_units = 1
colour = "{EMPTIED_COLOUR}"
role = "electrode"
sources = ["measured at home"]

[[electrode]]
name = "my electrode"
lithiated = "layered cobaltate"
delithiated = "emptied cobaltate"
ion = "Li"
ions_removed = 1
"""
CIF = """data_cobaltate
_cell_length_a 2.816
_cell_length_b 2.816
_cell_length_c 14.052
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 120
_symmetry_space_group_name_H-M 'R -3 m'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Li1 Li1+ 0 0 0.5
Co1 Co3+ 0 0 0
O1 O2- 0 0 0.2603
"""
NAME, EMPTIED = "layered cobaltate", "emptied cobaltate"
K_FACTORS = {
    "C_Ka": 3.0,
    "O_Ka": 1.6,
    "Al_Ka": 1.1,
    "P_Ka": 1.0,
    "V_Ka": 1.3,
    "Fe_Ka": 1.35,
    "Co_Ka": 1.4,
    "Ge_Ka": 2.0,
}


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> Path:
    """The user's files, added; they are taken back after each test."""
    (tmp_path / "cobaltate.cif").write_text(CIF, "utf-8")
    (tmp_path / "mine.toml").write_text(TABLE, "utf-8")
    assert NAME not in hyperspy_assb.materials
    hyperspy_assb.add_materials(tmp_path / "mine.toml")
    return tmp_path


def patterns_of(cif: Path, count: int) -> tuple[Any, np.ndarray]:
    """Patterns of crystals in random orientations, and these."""
    turned = np.random.default_rng(4).normal(size=(count, 4))
    turned /= np.linalg.norm(turned, axis=1, keepdims=True)
    conditions = DiffractionConditions().with_shape((96, 96))
    data = simulate_patterns(turned, cif, conditions, 1, thickness=40.0)
    return patterns_to_signal(data.reshape(1, count, 96, 96), conditions, pixel_size=10.0, signal_type="ACOM"), turned


def edx_map(pixels: int) -> Any:
    """Spectra of LiCoO2, by exspy's lines: as many counts as the factors above give for two O and one Co."""

    def dressed(data: np.ndarray) -> Any:
        s = hs.signals.Signal1D(data)
        s.set_signal_type("EDS_TEM_ASSB")
        axis = s.axes_manager.signal_axes[0]
        axis.scale, axis.units, axis.name, axis.is_binned = 0.01, "keV", "Energy", True
        angles = {"tilt_stage": 0.0, "azimuth_angle": 0.0, "elevation_angle": 18.0}
        s.set_microscope_parameters(beam_energy=200.0, live_time=1.0, energy_resolution_MnKa=130.0, **angles)
        s.set_elements(["O", "Co"])
        s.set_lines(["O_Ka", "Co_Ka"])
        return s

    one = dressed(np.ones(1024))
    model = one.create_model(auto_background=False)
    cobalt = 2e4
    oxygen = cobalt * K_FACTORS["Co_Ka"] / K_FACTORS["O_Ka"] * 2 * 15.999 / 58.933
    for component in model.xray_lines:
        component.A.value = {"O_Ka": oxygen, "Co_Ka": cobalt}.get(component.name, 0.0)
    energy = one.axes_manager.signal_axes[0].axis
    expected = 0.01 * sum(component.function(energy) for component in model)
    expected += 40.0 * np.exp(-energy / 4.0) * (energy > 0.2)
    return dressed(np.random.default_rng(2).poisson(np.tile(expected, (pixels, 1))).astype(float))


def low_loss_map() -> tuple[Any, dict[str, np.ndarray], np.ndarray]:
    """A line of pure pixels of both end members, of vacuum, and of mixtures; where they are; the truth of the last."""
    conditions = EELSConditions()
    pure, mixed = 24, 48
    rng = np.random.default_rng(3)
    lithiated = np.zeros(3 * pure + mixed)
    emptied = np.zeros_like(lithiated)
    lithiated[:pure], emptied[pure : 2 * pure] = rng.uniform(40, 90, pure), rng.uniform(40, 90, pure)
    share = rng.uniform(0.2, 0.8, mixed)
    # Thicknesses in proportion to the volumes of what has as many Co.
    volumes = [1.0 / hyperspy_assb.materials[name].formula_density for name in (NAME, EMPTIED)]
    whole = rng.uniform(40, 90, mixed) / (share * volumes[0] + (1 - share) * volumes[1])
    lithiated[3 * pure :], emptied[3 * pure :] = share * volumes[0] * whole, (1 - share) * volumes[1] * whole
    counts = simulate_spectra({"LiCoO2": lithiated, "CoO2": emptied}, conditions, rng, dose=1e7)
    places = np.arange(lithiated.size) // pure
    masks = {NAME: places == 0, EMPTIED: places == 1, "vacuum": places == 2}
    return spectra_to_signal(counts, conditions, signal_type="EELS_ASSB"), masks, share


def colours_in(figure: Figure) -> dict[str, str]:
    """Colours that the legends of a figure give to names."""
    legends = [ax.get_legend() for ax in figure.axes if ax.get_legend() is not None] + list(figure.legends)
    entries = [
        (text.get_text().partition(":")[0].partition(" (")[0], handle)
        for legend in legends
        for text, handle in zip(legend.get_texts(), legend.legend_handles, strict=True)
    ]
    return {
        name: mpl.colors.to_hex(handle.get_facecolor() if hasattr(handle, "get_facecolor") else handle.get_color())
        for name, handle in entries
    }


def test_it_is_indexed_and_reported(own: Path) -> None:
    signal, _ = patterns_of(own / "cobaltate.cif", 12)
    bank = hyperspy_assb.acom.simulate_bank(["my LCO", "lagp"], resolution=3.0)
    analysis = analyse_orientations(signal, bank, calibrate=False)
    found = analysis.result
    assert [phase.name for phase in found.phases] == [NAME, "LAGP"]
    assert (found.phase_map.data == 0).mean() > 0.9
    axes = np.ravel(found.plot())
    assert COLOUR in {colours_in(ax.figure).get(NAME) for ax in axes}
    (own / "report").mkdir()
    write_orientations(analysis, own / "report")
    assert NAME in (own / "report" / "report.html").read_text("utf-8")


def test_it_is_quantified_by_edx_and_reported(own: Path) -> None:
    s = edx_map(6)
    settings = EDSOptions(k_factors=K_FACTORS, thickness=80.0, absorption=False)
    p = s.quantify_phases([NAME, "LAGP", "carbon"], quantification=settings)
    share = p.volume_fraction[NAME].data
    assert share == pytest.approx(1.0, abs=0.1)
    assert colours_in(np.ravel(p.plot())[0].figure)[NAME] == COLOUR
    assert f"{NAME} volume fraction" in p.to_dataframe()
    (own / "report").mkdir()
    write_edx(analyse_edx(s, settings, phases=[NAME, "carbon"]), own / "report")
    assert NAME in (own / "report" / "report.html").read_text("utf-8")


def test_it_is_an_end_member_in_eels() -> None:
    s, masks, share = low_loss_map()
    d = s.quantify_delithiation(masks, method="references")
    mixed = slice(-share.size, None)
    x, std = np.ravel(d.x.data)[mixed], np.ravel(d.x_std.data)[mixed]
    assert np.isfinite(x).mean() > 0.9
    ok = np.isfinite(x)
    assert np.mean(x[ok] - share[ok]) == pytest.approx(0.0, abs=0.05)
    assert np.std((x - share)[ok] / std[ok]) < 2.0
    assert NAME in d.summary()
    # Colours of both: of a find, and of x = 1 and x = 0 on the scale of the map, -0.2 to 1.2.
    found = np.ravel(d.find_delithiated(0.05).plot())[0].figure
    assert colours_in(found)[f"{EMPTIED} found"] == EMPTIED_COLOUR
    (image,) = np.ravel(d.plot())[0].get_images()
    ends = [mpl.colors.to_rgb(image.get_cmap()(image.norm(x))) for x in (1.0, 0.0)]
    for end, colour in zip(ends, (COLOUR, EMPTIED_COLOUR), strict=True):
        np.testing.assert_allclose(end, mpl.colors.to_rgb(colour), atol=0.02)


def test_nothing_is_left_of_it(tmp_path: Path) -> None:
    state = hyperspy_assb.reference.materials._state
    assert state is not None
    assert [file.path.name for file in state.files] == ["materials.toml", "mine.toml"]
    package = Path(hyperspy_assb.__file__).parent
    assert not [path for path in package.rglob("*.toml") if NAME in path.read_text("utf-8")]
