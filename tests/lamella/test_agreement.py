"""What signals of the virtual lamella say of each other: contradictions first, pure pixels that are pure."""

from __future__ import annotations

import numpy as np
import pytest

from hyperspy_assb import Lamella
from hyperspy_assb.eels.delithiation.fine_structure import FineStructureFit
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.fitting.solver.noise_claim import Noise, NoiseSource
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.lamella.volume_agreement import compare_volumes, electrode_shares
from hyperspy_assb.reference import electrode
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.fine_structure import FineStructure
from hyperspy_assb.simulation.lamella import build_lamella

SHAPE = (40, 48)


@pytest.fixture(scope="module")
def state():
    return build_lamella(SHAPE, np.random.default_rng(3))


@pytest.fixture(scope="module")
def maps(state, make_maps, make_scan_of_state):
    return make_maps(make_scan_of_state(state.after), state.pixel_size)


def delithiation(x, axes):
    """A result with this x in every pixel, ± 0.05 and ± 0.02."""
    flat = x.ravel()
    known = np.isfinite(flat)
    std = np.where(known, 0.05, np.nan)
    status = np.where(known, 0, DelithiationStatus.NO_ELECTRODE).astype(np.int8)
    half = np.full(flat.size, 0.5)
    valence = LithiatedFraction(
        fraction=flat,
        fraction_std=std,
        fraction_systematic=0.4 * std,
        significance=flat / 0.05,
        detection_limit=half,
        electrode_share=half,
        status=status,
    )
    nothing = np.zeros((flat.size, 0))
    found = Quantification(
        contents={"valence": valence},
        amounts=nothing,
        amounts_std=nothing,
        t_over_lambda=half,
        reduced_deviance=half,
        agreement=half,
        residual=nothing,
        struck=np.zeros(flat.size, dtype=bool),
        explained=half,
        outside=np.zeros((flat.size, 3), dtype=bool),
    )
    return Delithiation(found, electrode("LixFePO4"), "valence", axes=axes)


def lamella_of(maps, x):
    lamella = Lamella("L1")
    lamella.add("acom", maps, bias=5.0)
    lamella.add("x", delithiation(x, maps.axes), bias=5.0, frame="acom")
    lamella.register("acom")
    return lamella


@pytest.fixture(scope="module")
def x(state):
    truth = state.after.x
    return truth + 0.05 * np.random.default_rng(1).normal(size=truth.shape)


def test_signals_that_agree_have_no_contradiction(maps, x):
    claims = lamella_of(maps, x).agreement()
    assert not any(claim.contradiction for claim in claims)
    together = next(claim for claim in claims if claim.subject == "x and phase in pixels")
    assert together.value > 0.9
    assert together.p < 0.01


def test_a_planted_contradiction_is_in_the_first_three_lines(state, maps, x, tmp_path):
    """ACOM says FePO4, and EELS LiFePO4, in one particle."""
    whole = [
        number
        for number in np.unique(state.after.particle_id)[1:]
        if np.nanmean(np.where(state.after.particle_id == number, state.after.x, np.nan)) < 0.05
    ]
    planted = max(whole, key=lambda number: np.sum(state.after.particle_id == number))
    inside = state.after.particle_id == planted
    lamella = lamella_of(maps, np.where(inside & np.isfinite(x), 1.0 - x, x))
    first = lamella.agreement()[0]
    assert first.contradiction
    assert "acom says FePO4" in first.sentence
    assert "x says LiFePO4" in first.sentence
    centre = np.argwhere(inside).mean(axis=0)[::-1] * state.pixel_size
    told = np.array([float(part) for part in first.sentence.split("(at ")[1].split(" nm")[0].split(",")])
    assert np.hypot(*(told - centre)) < 100.0
    lamella.report(tmp_path / "L1.html")
    text = (tmp_path / "L1.html").read_text("utf-8")
    points = [line.strip() for line in text.split("<main>")[1].splitlines() if "<li>" in line or "<h2>" in line]
    assert any("Contradiction in particle" in line for line in points[:3])


def test_core_losses_are_compared_with_diffraction(maps, x, tmp_path):
    content = delithiation(x, maps.axes).found.contents["valence"]
    half = np.full(x.size, 0.5)
    noise = Noise(Detector(), NoiseSource.COUNTER, "")
    found = FineStructureFit({"O K": content, "combined": content}, half, half, {"O K": half}, {}, noise)
    lamella = Lamella("L1")
    lamella.add("acom", maps, bias=5.0)
    lamella.add("core", FineStructure(found, electrode("LixFePO4"), "combined", axes=maps.axes), frame="acom")
    lamella.register("acom")
    together = next(claim for claim in lamella.agreement() if claim.subject == "x and phase in pixels")
    assert "core" in together.sources
    assert together.value > 0.9
    lamella.report(tmp_path / "L1.html")
    assert "Core-loss EELS" in (tmp_path / "L1.html").read_text("utf-8")


def test_other_states_are_not_compared(maps, x):
    lamella = Lamella("L1")
    lamella.add("acom", maps, bias=5.0)
    lamella.add("x", delithiation(x, maps.axes), bias=0.0, frame="acom")
    assert not any("x" in claim.sources for claim in lamella.agreement())


def test_references_from_diffraction_are_pure_and_away_from_boundaries(state, maps, x):
    lamella = lamella_of(maps, x)
    found = lamella.references("x")
    assert {"LiFePO4", "FePO4", "LAGP"} <= set(found)
    for name in ("LiFePO4", "FePO4", "LAGP"):
        mask = found[name].data
        assert mask.shape == SHAPE
        # Neighbours in the scan are of the same phase.
        phase = maps.classes.index == maps.classes.names.index(name)
        assert phase[mask].all()
        for axis in (0, 1):
            for step in (-1, 1):
                beside = np.roll(phase, step, axis)
                edge = [slice(None), slice(None)]
                edge[axis] = 0 if step == 1 else -1
                beside[tuple(edge)] = True
                assert beside[mask].all()
    record = found["LAGP"].metadata.ASSB.provenance
    assert record.action == "references"


def test_the_delithiated_phase_is_compared_with_the_distance_to_cracks(maps, x):
    """A crack along the particles that are FePO4: they are near it."""
    lamella = lamella_of(maps, x)
    cracks = maps.phase_map._deepcopy_with_new_data(maps.found.phase == 1)
    lamella.add("cracks", cracks, frame="acom")
    claim = next(c for c in lamella.agreement() if c.subject == "FePO4 and cracks")
    assert claim.value < -0.3
    assert claim.sources == ("acom", "cracks")


@pytest.mark.parametrize(("shift", "against"), [(0.0, False), (0.03, False), (0.35, True)])
def test_volumes_that_differ_by_more_than_the_methods_do_contradict(shift, against):
    rng = np.random.default_rng(2)
    truth = rng.uniform(0.0, 0.6, SHAPE)
    shares = {
        "acom": truth + 0.1 * rng.normal(size=SHAPE),
        "x": truth + shift,
        "edx": truth + 0.02 * rng.normal(size=SHAPE),
    }
    shares["edx"][:4] = np.nan
    sentence, value, p, contradicts = compare_volumes(shares, 0.05)
    assert contradicts is against
    assert sentence.startswith("Contradiction") is against
    assert value == pytest.approx(shift, abs=0.02)
    assert (p < 0.05) is against
    assert f"in {36 * 48} pixels" in sentence


def test_shares_by_diffraction_are_those_of_the_phases(state, maps, x):
    lamella = lamella_of(maps, x)
    inside = np.isin(maps.found.phase, (0, 1))
    found = electrode_shares(lamella, "acom", inside, "x")
    known = maps.classes.index >= 0
    assert np.allclose(found[known], inside[known])
    assert np.isnan(found[~known]).all()


def test_the_first_lines_are_a_headline_and_claims_with_dose_and_carbon(maps, x):
    from hyperspy_assb.lamella.lamella_report import build_report

    lamella = lamella_of(maps, x)
    claims = lamella.agreement()
    report = build_report(lamella, claims)
    assert [section.heading for section in report.sections[:2]] == ["Contradictions", "Findings"]
    first = report.sections[1]
    assert 1 <= len(first.points) <= 3
    assert first.points[0].startswith("EELS: x in LixFePO4, over all pixels that are quantified, is")
    assert first.points[1].startswith("4D-STEM: of the area, FePO4 fills")
    (numbers,) = first.tables
    assert {"quantity", "unit", "uncertainty"} < set(numbers.columns)
    assert "EELS: x in LixFePO4" in list(numbers.data["quantity"])
    assert any(name.startswith("4D-STEM: FePO4") for name in numbers.data["quantity"])
    assert report.sections[2].heading == "Claims"
    table = report.sections[2].tables[0].data
    assert len(table) == len(claims)
    assert {"dose (e/nm²)", "carbon"} < set(table.columns)
    assert "% of the area" in table["carbon"].iloc[0]
    assert (table["dose (e/nm²)"] == "not known").all()
    headings = [section.heading for section in report.sections]
    assert headings.index("Phases and orientations") < headings.index("Low-loss EELS")
