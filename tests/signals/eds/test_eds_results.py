"""What results of EDX have in common with all others: files, tables of regions, summary, status."""

from __future__ import annotations

import pickle

import hyperspy.api as hs
import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.eds.comparison.composition_change import BlockStatus, CompositionOptions
from hyperspy_assb.eds.composition.atoms import FitStatus
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.phases.evidence import PhaseStatus
from hyperspy_assb.errors import AssbWarning
from hyperspy_assb.signals.packing import digest, pack
from hyperspy_assb.signals.result import KINDS, Result
from hyperspy_assb.simulation import (
    InterfaceOptions,
    XRayConditions,
    edx_to_signal,
    micro_battery,
    simulate_edx,
    simulate_interface,
)

SHAPE = (6, 8)


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    battery = micro_battery(shape=SHAPE, seed=6, edx_signal_type="EDS_TEM_ASSB")
    before, after = battery.edx_before, battery.edx_after
    after.data[0, 0] = 0
    boundary = simulate_interface(InterfaceOptions(width=6.0), rng=1, signal_type="EDS_TEM_ASSB").signal
    return {
        "composition": after.quantify_composition(),
        "phases": after.quantify_phases(),
        "lines": after.fit_line_counts(),
        "comparison": before.compare_composition(after, options=CompositionOptions(register=False)),
        "interface": boundary.interface_profile(probe=1.5),
        "unmixing": boundary.unmix(2, known="LAGP"),
        "spectrum": battery.edx_before.sum().quantify_phases(thickness=80.0),
    }


NAMES = ("composition", "phases", "lines", "comparison", "interface", "spectrum", "unmixing")
MAPS = NAMES[:4]


@pytest.mark.parametrize("ending", [".hspy", ".zspy"])
@pytest.mark.parametrize("name", NAMES)
def test_the_whole_result_comes_back(results: dict[str, Result], name: str, ending: str, tmp_path) -> None:
    saved, path = results[name], tmp_path / f"{name}{ending}"
    saved.save(path)
    found = hyperspy_assb.load(path)
    assert type(found) is type(saved)
    assert digest(*pack(found, KINDS)) == digest(*pack(saved, KINDS))
    assert found.summary() == saved.summary()
    assert found.to_dataframe().equals(saved.to_dataframe())
    shown = hs.load(path)
    assert shown.metadata.General.title
    assert shown.metadata.ASSB.provenance.action == saved.provenance["action"]
    assert isinstance(pickle.loads(pickle.dumps(saved)), type(saved))


@pytest.mark.parametrize("name", NAMES)
def test_summary_ends_with_the_notes(results: dict[str, Result], name: str) -> None:
    result = results[name]
    lines = result.summary().splitlines()
    assert lines[len(lines) - len(result.notes) :] == list(result.notes)
    assert len(lines) > len(result.notes)
    assert all(line.endswith(".") for line in lines)


@pytest.mark.parametrize("name", MAPS)
def test_regions_are_counted_by_status(results: dict[str, Result], name: str) -> None:
    result = results[name]
    left = np.broadcast_to(np.arange(SHAPE[1]) < 3, SHAPE)
    table = result.to_dataframe(region={"left": left, "all": np.ones(SHAPE, dtype=bool)})
    assert table.index.tolist() == ["left", "all"]
    statuses = [status.name.lower() for status in result.statuses]
    assert table.loc["left", statuses].sum() == left.sum()
    assert table.loc["all", statuses].sum() == left.size
    pixels = result.to_dataframe()
    assert len(pixels) == left.size
    assert pixels["status"].value_counts().to_dict() == {
        status: n for status, n in table.loc["all", statuses].astype(int).items() if n
    }
    labels = result.to_dataframe(np.where(left, 1, 2), names=["left", "right"])
    np.testing.assert_array_equal(labels.loc["left"], table.loc["left"])


def test_numbers_of_regions_are_those_of_the_methods(results: dict[str, Result]) -> None:
    left = np.broadcast_to(np.arange(SHAPE[1]) < 4, SHAPE)
    composition = results["composition"]
    row, mean = composition.to_dataframe(left).iloc[0], composition.mean(left)
    assert row["Fe (at. %)"] == mean.loc["Fe", "at. %"]
    assert row["Fe std (at. %)"] == mean.loc["Fe", "std"]
    assert row["Fe systematic (at. %)"] == mean.loc["Fe", "systematic"]
    phases = results["phases"]
    row, table = phases.to_dataframe(left).iloc[0], phases.phase_fractions(left).loc["region"]
    for kind in ("volume", "mass", "area"):
        assert row[f"LAGP {kind} fraction"] == table.loc["LAGP", kind]
    assert row["LAGP std"] == table.loc["LAGP", "volume std"]
    assert row["p value"] == phases.check_mixture(left).p_value
    comparison = results["comparison"]
    row, table = comparison.to_dataframe(left).iloc[0], comparison.changes(left).loc["region"]
    assert row["Fe change (at. %)"] == table.loc["Fe", "change"]
    assert row["Fe p value"] == table.loc["Fe", "p_value"]
    lines = results["lines"]
    row = lines.to_dataframe(left).iloc[0]
    inside = left & (lines.status.data == FitStatus.FITTED)
    assert row["Fe_Ka"] == pytest.approx(lines.counts["Fe_Ka"].data[inside].sum())
    assert row["Fe_Ka std"] == pytest.approx(np.sqrt((lines.std["Fe_Ka"].data[inside] ** 2).sum()))


def test_a_pixel_without_counts_has_its_status_and_no_numbers(results: dict[str, Result]) -> None:
    empty = np.zeros(SHAPE, dtype=bool)
    empty[0, 0] = True
    for name, status in (
        ("composition", FitStatus.EMPTY),
        ("phases", PhaseStatus.EMPTY),
        ("lines", FitStatus.EMPTY),
        ("comparison", BlockStatus.EMPTY),
    ):
        result = results[name]
        assert result.status.data[0, 0] == status
        row = result.to_dataframe(region=empty).iloc[0]
        assert row[status.name.lower()] == 1
        assert row.drop([s.name.lower() for s in result.statuses]).isna().all()


def test_regions_of_a_profile_are_refused(results: dict[str, Result]) -> None:
    with pytest.raises(ValueError, match="An InterfaceProfile has no pixels that region= could name"):
        results["interface"].to_dataframe(region=np.ones(SHAPE, dtype=bool))


def test_counts_from_a_file_have_no_model(results: dict[str, Result], tmp_path) -> None:
    assert results["lines"].model is not None
    results["lines"].save(tmp_path / "lines.hspy")
    found = hyperspy_assb.load(tmp_path / "lines.hspy")
    assert found.model is None
    assert [s.metadata.Sample.xray_lines[0] for s in found.intensities] == sorted(found.lines)


@pytest.fixture(scope="module")
def olivine():
    """A map of nothing but LiFePO4."""
    conditions = XRayConditions(counts_per_channel=2.0)
    counts = simulate_edx({"LiFePO4": np.full((4, 4), 80.0)}, conditions, np.random.default_rng(4))
    return edx_to_signal(counts, conditions, pixel_size=5.0, signal_type="EDS_TEM_ASSB")


class TestElementsThatDoNotDescribeTheMap:
    @pytest.mark.filterwarnings("ignore::hyperspy_assb.errors.AssbWarning")
    def test_nothing_is_said_of_the_composition(self, olivine):
        with pytest.warns(AssbWarning, match="there is no composition"):
            c = olivine.quantify_composition(elements=["C", "Ge"])
        assert set(np.unique(c.status.data)) == {FitStatus.UNEXPLAINED}
        assert np.isnan(c.atomic_percent["C"].data).all()
        for name in ("O K", "P K", "Fe K"):
            assert name in c.summary()
        with pytest.raises(ValueError, match="No pixel of the region has a composition"):
            c.mean()

    def test_spurious_elements_are_no_atoms(self, olivine):
        options = EDSOptions(elements=["C", "O", "P", "Fe"], spurious=("Cu", "Si"))
        c = olivine.quantify_composition(quantification=options)
        assert c.elements == ("C", "O", "P", "Fe")
        assert any("Not of the column" in note and "Cu, Si" in note for note in c.notes)
        assert c.mean()["at. %"].sum() == pytest.approx(100.0, abs=0.5)

    def test_no_composition_lies_outside_0_and_100(self, olivine):
        c = olivine.quantify_composition()
        told = c.mean()["at. %"]
        assert told.between(0.0, 100.0).all()
        assert (c.found.unclipped.mean(axis=0) < 0.0).any()


def test_comparison_has_the_dose_beside_it(results):
    found = results["comparison"]
    assert found.provenance["dose"].keys() == {"before", "after"}
    assert "cannot be separated" in found.summary().splitlines()[-1]
