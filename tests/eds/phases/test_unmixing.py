"""Phases that nobody named: compositions, errors, and whether they can be told apart."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

import hyperspy_assb as assb
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.phases.unmixing import Unmixed
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.reference.data_files import UnknownReferenceError

SHAPE = (16, 24)
LFP = {"O": 66.7, "P": 16.7, "Fe": 16.7}
"""at. % without Li."""


@pytest.fixture(scope="module")
def other():
    """The second simulator: other tables, another detector, and nothing of the analysis."""
    pytest.importorskip("xraylib")
    path = Path(__file__).parents[3] / "benchmarks" / "eds_other.py"
    if not path.exists():
        pytest.skip("benchmarks are not part of the distribution")
    spec = importlib.util.spec_from_file_location("eds_other", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["eds_other"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recorded(other):
    """LiFePO4 beside LAGP, and the factors of the microscope."""
    rng = np.random.default_rng(11)
    scope = other.random_microscope(rng)
    lfp = 100.0 / (1.0 + np.exp(np.arange(SHAPE[1]) - 11.5))
    expected, _, electrons = other.simulate({"LFP": lfp, "LAGP": 100.0 - lfp}, scope, 2000.0)
    counts = rng.poisson(np.broadcast_to(expected, (*SHAPE, expected.shape[1])).reshape(-1, expected.shape[1]))
    factors = {name: factor for name, factor in other.k_factors(scope).items() if not name.startswith("Pt")}
    return other.signal_of(counts.astype(np.uint32), scope, electrons, SHAPE), EDSOptions(k_factors=factors), lfp


@pytest.fixture(scope="module")
def found(recorded):
    signal, options, _ = recorded
    return signal.unmix(2, known=("LAGP",), thickness=100.0, quantification=options)


def test_a_phase_that_nobody_named_is_found(found):
    table = found.composition.loc["unknown 1"]
    error = np.hypot(table["std"], table["systematic"])
    for element, percent in LFP.items():
        assert abs(table.loc[element, "at. %"] - percent) < 2.5 * error[element]
        assert error[element] < 0.06 * percent
    assert (table["at. %"].drop([*LFP, "C"]) < 0.3).all()
    assert table["at. %"].sum() == pytest.approx(100.0)
    assert found.separable == {"LAGP": True, "unknown 1": True}


def test_known_phases_keep_their_composition(found):
    table = found.composition.loc["LAGP"]
    assert table.loc["Ge", "at. %"] == pytest.approx(100 * 1.5 / 17)
    assert (table[["std", "systematic"]] == 0.0).all(axis=None)


def test_shares_have_true_intervals(other, recorded, found):
    density = {phase: sum(n for el, n in other.densities(phase).items() if el != "Li") for phase in ("LFP", "LAGP")}
    atoms = recorded[2] * density["LFP"]
    truth = np.broadcast_to(atoms / (atoms + (100.0 - recorded[2]) * density["LAGP"]), SHAPE)
    away = (truth > 0.1) & (truth < 0.9)
    share, std = found.found.unclipped[:, 1] / found.found.unclipped.sum(axis=1), found.share_std["unknown 1"].data
    inside = np.abs(share.reshape(SHAPE) - truth) < np.hypot(std, found.share_systematic["unknown 1"].data)
    assert abs(np.mean(share.reshape(SHAPE) - truth)) < 0.015
    assert 0.5 < inside[away].mean() < 0.85
    assert (found.status.data == 0).mean() > 0.95


def test_one_component_too_many_is_told(recorded):
    signal, options, _ = recorded
    with pytest.warns(AssbWarning, match="n = 3 is too many: 2 components explain all spectra"):
        found = signal.unmix(3, known=("LAGP",), thickness=100.0, quantification=options)
    assert not found.separable["unknown 1"]
    assert not found.separable["unknown 2"]
    assert "n = 3 is too many" in found.summary()


def test_one_component_too_few_is_told(recorded):
    signal, options, _ = recorded
    with pytest.warns(AssbWarning, match="n = 1 is too few, or a known phase is another"):
        signal.unmix(1, thickness=100.0, quantification=options)


@pytest.mark.parametrize(("n", "known"), [(1, ("LAGP",)), (0, ()), (True, ()), (2.5, ()), (2, ("LAGP", "LFP"))])
def test_n_counts_the_known_phases(recorded, n, known):
    with pytest.raises(ValueError, match=f"n must be a whole number above {len(known)}"):
        recorded[0].unmix(n, known=known, thickness=100.0)


def test_a_material_twice_and_one_that_is_not_known(recorded):
    with pytest.raises(ValueError, match="known names a material twice: LiFePO4, LiFePO4"):
        recorded[0].unmix(3, known=("LFP", "LiFePO4"), thickness=100.0)
    with pytest.raises(UnknownReferenceError, match="Unobtainium"):
        recorded[0].unmix(2, known=("Unobtainium",), thickness=100.0)


def test_too_few_spectra(recorded):
    with pytest.raises(ValueError, match="3 components need more than 4 spectra"):
        recorded[0].inav[:2, :2].unmix(3, thickness=100.0, quantification=recorded[1])


def test_what_may_be_another_component_by_hand():
    nothing = np.zeros((1, 2))
    found = Unmixed(
        components=("LAGP", "unknown 1"),
        known=1,
        elements=("O", "Fe", "Ge"),
        shares=np.array([[0.8, 0.0, 0.2], [0.6, 0.35, 0.05]]),
        shares_std=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.01]]),
        shares_systematic=np.zeros((2, 3)),
        amounts=np.array([[30.0, 10.0]]),
        unclipped=np.array([[30.0, 10.0]]),
        covariance=np.array([np.diag([9.0, 1.0])]),
        by_calibration=np.array([[[3.0], [1.0]]]),
        p_value=np.ones(1),
        status=np.zeros(1, dtype=np.int8),
        separable=np.ones(2, dtype=bool),
    )
    np.testing.assert_allclose(found.hidden(), [[0.0, 0.0], [0.06 / 0.2, 0.0]])
    share, std, systematic = found.fractions()
    np.testing.assert_allclose(share, [[0.75, 0.25]])
    np.testing.assert_allclose(std, [[np.hypot(3 * 0.25, 0.75) / 40.0] * 2])
    # Both rise alike: no share changes.
    np.testing.assert_allclose(systematic, nothing, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Loading old file version", "ignore:Up to")
def test_platinum_and_iron_on_carbon(shared_data):
    signal = assb.load_eds_spectrum_image(shared_data / "eds" / "fept" / "bare_core.hdf5", reader="hspy")
    signal.correct_energy_calibration()
    options = EDSOptions(spurious=("Cu", "Si"))
    found = signal.unmix(2, known=("carbon",), thickness=40.0, elements=["C", "O", "Fe", "Pt"], quantification=options)
    particle = found.composition.loc["unknown 1", "at. %"]
    # Of the alloy, as the counts of a region have it: twice to ten times as much Pt as Fe, and film above and below.
    assert 2.0 < particle["Pt"] / particle["Fe"] < 10.0
    share = found.share["unknown 1"].data
    assert np.corrcoef(np.nan_to_num(share).ravel(), signal.isig[9.2:9.6].sum("Energy").data.ravel())[0, 1] > 0.6
    assert any("may be carbon" in note for note in found.notes)
