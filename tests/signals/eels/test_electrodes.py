"""Delithiation of any couple of the table: which is meant, what it allows, its x, its words, and its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

import hyperspy_assb
from hyperspy_assb.eels.delithiation.end_members import canonical_names
from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus
from hyperspy_assb.eels.delithiation.prediction import predict_estimate
from hyperspy_assb.reference import MissingFactError, UnknownReferenceError, electrode
from hyperspy_assb.reference import materials as materials_module
from hyperspy_assb.report.delithiation import delithiation_maps, describe_delithiation
from hyperspy_assb.signals.eels.delithiation_estimate import choose_electrode
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal
from hyperspy_assb.simulation.eels.dielectric import phase

CONDITIONS = EELSConditions()
PURE, MIXED = 24, 40
"""Pure columns of each phase, and columns that hold both end members."""


def simulate(couple, *, seed=0, dose=4e6, conditions=CONDITIONS):
    """Pure columns of two end members and of LAGP, then mixtures: signal, masks, lithiated fraction of all."""
    rng = np.random.default_rng(seed)
    kinds = np.repeat([*couple, "LAGP", "mixed"], [PURE, PURE, PURE, MIXED])
    fraction = np.select([kinds == couple[0], kinds == couple[1], kinds == "LAGP"], [1.0, 0.0, np.nan], default=-1.0)
    fraction[kinds == "mixed"] = rng.uniform(0.0, 1.0, MIXED)
    nm = rng.uniform(20.0, 80.0, kinds.size)
    volumes = [phase(name).volume for name in couple]
    parts = np.stack([fraction * volumes[0], (1.0 - fraction) * volumes[1]])
    parts *= nm / parts.sum(axis=0)
    columns = {name: np.nan_to_num(part) for name, part in zip(couple, parts, strict=True)}
    columns["LAGP"] = np.where(kinds == "LAGP", nm, 0.0)
    counts = simulate_spectra(columns, conditions, rng, dose=dose)
    signal = spectra_to_signal(counts, conditions, signal_type="EELS_ASSB")
    return signal, {name: kinds == name for name in (*couple, "LAGP")}, fraction


@pytest.fixture(scope="module")
def sodium():
    """Na3V2(PO4)3 with an alias for its name."""
    signal, masks, fraction = simulate(("Na3V2(PO4)3", "NaV2(PO4)3"))
    masks["nvp"] = masks.pop("Na3V2(PO4)3")
    return signal, masks, fraction, signal.quantify_delithiation(masks, show_progressbar=False)


@pytest.fixture
def own_table(tmp_path, monkeypatch):
    """Adds a table to those of the package, for one test."""
    monkeypatch.setattr(materials_module, "_state", materials_module._current())

    def add(text):
        path = tmp_path / "mine.toml"
        path.write_text(text, encoding="utf-8")
        hyperspy_assb.add_materials(path)

    return add


# ---------------------------------------------------------------------------------------------- couples, end to end


@pytest.mark.slow
@pytest.mark.parametrize(
    "couple",
    [
        ("LiCoO2", "CoO2"),
        ("NMC811", "delithiated NMC811"),
        ("Na3V2(PO4)3", "NaV2(PO4)3"),
    ],
)
def test_any_couple_is_quantified_by_its_references(couple):
    signal, masks, fraction = simulate(couple, seed=4)
    found = signal.quantify_delithiation(masks, show_progressbar=False)
    assert found.methods == ("references", "combined")
    assert (found.electrode.lithiated, found.electrode.delithiated) == couple
    mixed = slice(3 * PURE, None)
    error = (found.fraction.data - fraction)[mixed]
    stated = np.hypot(found.fraction_std.data, found.fraction_systematic.data)[mixed]
    # Known truth: 40 pixels tell the root mean square to 11 %, but they share the error of the references, which is
    # about half of what is stated.
    assert abs(np.mean(error)) < 0.6 * np.median(stated)
    assert 0.6 < np.sqrt(np.mean((error / stated) ** 2)) < 1.4
    assert np.mean(np.abs(error) < 2.5 * stated) > 0.9
    np.testing.assert_array_equal(found.x.data, found.with_method("references").x.data)
    assert np.isnan(found.agreement.data).all()
    assert np.all(found.status.data[2 * PURE : 3 * PURE] == DelithiationStatus.NO_ELECTRODE)


def test_x_counts_ions_of_the_lithiated_host(sodium):
    _, masks, fraction, found = sodium
    assert found.electrode.name == "NaxV2(PO4)3"
    np.testing.assert_allclose(found.x.data, 1.0 + 2.0 * found.fraction.data)
    np.testing.assert_allclose(found.x_std.data, 2.0 * found.fraction_std.data)
    np.testing.assert_allclose(found.x_systematic.data, 2.0 * found.fraction_systematic.data)
    table = found.to_dataframe(region=masks)
    assert table["x"].to_dict() == pytest.approx({"nvp": 3.0, "NaV2(PO4)3": 1.0, "LAGP": np.nan}, abs=0.05, nan_ok=True)
    np.testing.assert_allclose(table["x"], 1.0 + 2.0 * table["fraction"])
    np.testing.assert_allclose(table["x_std"], 2.0 * table["fraction_std"])
    both = found.fit_populations(np.isfinite(fraction))
    assert both.to_dataframe()["population"].tolist()[1:3] == ["NaV2(PO4)3", "Na3V2(PO4)3"]
    assert both.to_dataframe()["x"].to_list()[1:3] == pytest.approx([1.0, 3.0], abs=0.3)
    # Precision is asked for in the same x, and told in it; a detection limit is a share.
    half = found.predict_precision(1e6, x=2.0).iloc[0]
    expected = predict_estimate(found.standard, 1e6, fraction=0.5)
    assert half["x_std"] == pytest.approx(2.0 * expected.variance[0] ** 0.5)
    assert half["detection_limit"] == pytest.approx(3.29 * expected.null_variance[0] ** 0.5)


def test_x_and_fraction_of_lithium_iron_phosphate_are_one():
    row = electrode("LixFePO4")
    values = np.array([-0.3, 0.0, 0.4, 1.2])
    np.testing.assert_array_equal(row.x_of(values), values)


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(("method", "signature"), [("valence", "FePO4 5 eV band"), ("lithium", "Li K")])
def test_a_method_without_its_signature_is_refused_by_name(sodium, method, signature):
    signal, masks, _, found = sodium
    message = rf"method='{method}' needs the signature '{signature}', which NaxV2\(PO4\)3 in .*materials.toml has not"
    with pytest.raises(MissingFactError, match=message):
        found.with_method(method)
    with pytest.raises(MissingFactError, match=message):
        signal.quantify_delithiation(masks, method)
    with pytest.raises(MissingFactError, match=message):
        signal.quantify_delithiation(found, method)


def test_the_built_in_calibration_is_for_the_olivine_alone(sodium, own_table):
    signal = sodium[0]
    with pytest.raises(MissingFactError, match="LixCoO2"):
        signal.quantify_delithiation(method="lithium", electrode="LixCoO2")
    own_table(
        '[[material]]\nname = "LMP"\nformula = "LiMnPO4"\n[[material]]\nname = "MP"\nformula = "MnPO4"\n'
        '[[electrode]]\nname = "LixMnPO4"\nlithiated = "LMP"\ndelithiated = "MP"\nion = "Li"\nions_removed = 1\n'
        'signatures = ["Li K"]'
    )
    with pytest.raises(ValueError, match=r"for LiFePO4 and FePO4, not for LixMnPO4.*'LMP': \.\.\., 'MP'"):
        signal.quantify_delithiation(method="lithium", electrode="LixMnPO4")


def test_an_unknown_couple_lists_those_that_there_are(sodium):
    signal, masks, _, _ = sodium
    with pytest.raises(ValueError, match=r"LixFePO4 \(LiFePO4 and FePO4\).*LixCoO2 \(LiCoO2 and CoO2\).*add_materials"):
        signal.quantify_delithiation({"LiCoO2": masks["nvp"], "FePO4": masks["NaV2(PO4)3"]})
    with pytest.raises(ValueError, match=r"are of Na3V2\(PO4\)3, LAGP\. NaV2\(PO4\)3 is missing"):
        signal.quantify_delithiation({"NVP": masks["nvp"], "LAGP": masks["LAGP"]})
    with pytest.raises(ValueError, match=r"must name NaV2\(PO4\)3, for NaxV2\(PO4\)3"):
        signal.quantify_delithiation({"NVP": masks["nvp"]}, electrode="NaxV2(PO4)3")
    with pytest.raises(UnknownReferenceError, match="no electrode 'NaxV2'"):
        signal.quantify_delithiation(masks, electrode="NaxV2")


def test_two_names_of_one_material_are_refused(sodium):
    signal, masks, _, _ = sodium
    with pytest.raises(ValueError, match=r"name Na3V2\(PO4\)3 twice: as 'nvp' and as 'Na3V2\(PO4\)3'"):
        signal.quantify_delithiation({**masks, "Na3V2(PO4)3": masks["nvp"]})


def test_an_ambiguous_couple_is_settled_by_the_electrode(sodium):
    """Spectra of the sodium couple stand in for those of Li3V2(PO4)3, LiV2(PO4)3 and V2(PO4)3."""
    signal, masks, _, _ = sodium
    third = masks["LAGP"]
    named = {"LVP": masks["nvp"], "LiV2(PO4)3": masks["NaV2(PO4)3"], "V2(PO4)3": third}
    with pytest.raises(
        ValueError, match=r"fit LixV2\(PO4\)3 .* and LixV2\(PO4\)3, x from 1 .*electrode='LixV2\(PO4\)3'"
    ):
        signal.quantify_delithiation(named)
    row = electrode("LixV2(PO4)3, x from 1")
    found = signal.quantify_delithiation(named, electrode=row, ensemble=False, show_progressbar=False)
    assert found.electrode == row
    assert list(found.amounts) == ["Li3V2(PO4)3", "LiV2(PO4)3", "V2(PO4)3"]
    assert np.nanmedian(found.x.data[masks["nvp"]]) == pytest.approx(3.0, abs=0.1)
    assert np.nanmedian(found.x.data[masks["NaV2(PO4)3"]]) == pytest.approx(1.0, abs=0.1)
    with pytest.raises(ValueError, match=r"references are of LixV2\(PO4\)3, x from 1, but electrode is LixCoO2"):
        signal.quantify_delithiation(found, electrode="LixCoO2")


def test_references_that_do_not_differ_are_refused(sodium):
    signal, masks, _, _ = sodium
    half = masks["nvp"].copy()
    half[np.flatnonzero(half)[::2]] = False
    with pytest.raises(ValueError, match=r"do not differ in any part of the spectrum.*pure Na3V2\(PO4\)3 and NaV2"):
        signal.quantify_delithiation({"NVP": half, "NaV2(PO4)3": masks["nvp"] & ~half}, show_progressbar=False)


@pytest.mark.filterwarnings("ignore:(.*unset|Missing|.*placeholder|.*treated):UserWarning")
def test_real_spectra_of_one_cathode_are_no_couple(shared_data):
    """Half of the pixels of one cathode against the other half."""
    import hyperspy.api as hs

    signal = hs.load(shared_data / "eels" / "nmc_battery" / "EELS_ZLP_EELS_Spectrum_Image.dm3", signal_type="EELS_ASSB")
    every_other = np.indices((2, 21)).sum(axis=0) % 2 == 0
    with pytest.raises(ValueError, match="NMC811"):
        signal.quantify_delithiation(
            {"NMC811": every_other, "delithiated NMC811": ~every_other}, show_progressbar=False
        )


def test_sodium_needs_no_lithium_in_the_range(sodium):
    signal, masks, _, _ = sodium
    found = signal.isig[:62.0].quantify_delithiation(masks, ensemble=False, show_progressbar=False)
    assert np.nanmedian(found.x.data[masks["nvp"]]) == pytest.approx(3.0, abs=0.1)
    with pytest.raises(ValueError, match="valence electrons, which count formula units"):
        signal.isig[:45.0].quantify_delithiation(masks)


# -------------------------------------------------------------------------------------------- a couple of the user's


def test_a_user_table_adds_a_couple_with_one_signature(own_table):
    """The olivine under other names, with Li K alone to tell its end members apart."""
    own_table(
        '[[material]]\nname = "charged"\naliases = ["C1"]\nformula = "FePO4"\ncolour = "#123456"\n'
        '[[material]]\nname = "discharged"\nformula = "LiFePO4"\n'
        '[[electrode]]\nname = "our cathode"\nlithiated = "discharged"\ndelithiated = "charged"\nion = "Li"\n'
        'ions_removed = 1\nsignatures = ["Li K"]'
    )
    signal, masks, fraction = simulate(("LiFePO4", "FePO4"))
    named = {"discharged": masks["LiFePO4"], "c1": masks["FePO4"], "LAGP": masks["LAGP"]}
    found = signal.quantify_delithiation(named, show_progressbar=False)
    assert found.methods == ("lithium", "references", "combined")
    assert "FePO4ValenceBand" not in found.standard.names
    assert found.notes == ("The combined estimate of x is from the mixture of the reference spectra and Li K.",)
    with pytest.raises(MissingFactError, match=r"mine\.toml has not: its signatures are Li K"):
        found.with_method("valence")
    mixed = slice(3 * PURE, None)
    for method, limit in (("lithium", 0.1), ("references", 0.02), ("combined", 0.02)):
        error = (found.with_method(method).x.data - fraction)[mixed]
        assert abs(np.median(error)) < limit, method  # known truth
    assert np.isfinite(found.agreement.data[mixed]).mean() > 0.9
    exchanged = {"discharged": masks["FePO4"], "c1": masks["LiFePO4"]}
    with pytest.raises(ValueError, match="discharged and charged look exchanged: that of discharged has less Li K"):
        signal.quantify_delithiation(exchanged, show_progressbar=False)


# ------------------------------------------------------------------------------------------------- words and files


def words_of(result):
    """Everything that a result says."""
    titles = [
        getattr(result, name).metadata.General.title
        for name in ("x", "fraction", "fraction_std", "fraction_systematic", "significance", "detection_limit")
    ]
    titles += [
        result.electrode_share.metadata.General.title,
        *(m.metadata.General.title for m in result.amounts.values()),
    ]
    asked = [result.find_delithiated(), result.fit_populations(), result.compare_with_mixture()]
    maps = delithiation_maps(result, lambda signal, label, *_, **__: label)
    tables = [*result.to_dataframe().columns, *result.to_dataframe(region=result.quantified).columns]
    return [
        *titles,
        *maps,
        *maps.values(),
        *tables,
        repr(result),
        result.summary(),
        *(a.summary() for a in asked),
        *(str(a.to_dataframe()) for a in asked),
        *describe_delithiation(result),
    ]


def test_a_sodium_couple_is_spoken_of_in_its_own_names(sodium):
    text = "\n".join(words_of(sodium[-1]))
    for foreign in ("FePO4", "LixFe", "Li K", "olivine", "iron", "Fe "):
        assert foreign not in text
    assert "x in NaxV2(PO4)3" in text
    assert "NaV2(PO4)3 is found in" in text
    assert "nothing would reveal that Na3V2(PO4)3 and NaV2(PO4)3 are exchanged" in text


def test_a_result_comes_back_from_its_file_and_serves_as_references(sodium, tmp_path):
    signal, _, _, found = sodium
    found.save(tmp_path / "sodium.hspy")
    loaded = hyperspy_assb.load(tmp_path / "sodium.hspy")
    assert repr(loaded) == repr(found)
    assert loaded.electrode == found.electrode
    assert loaded.provenance["parameters"]["electrode"] == "NaxV2(PO4)3"
    assert loaded.notes == found.notes
    assert loaded.to_dataframe().equals(found.to_dataframe())
    one, two = (
        signal.inav[-8:].quantify_delithiation(r, ensemble=False, show_progressbar=False) for r in (found, loaded)
    )
    np.testing.assert_array_equal(one.x.data, two.x.data)
    assert two.electrode.name == "NaxV2(PO4)3"
    for name, asked in (
        ("pixels", found.find_delithiated(0.1)),
        ("populations", found.fit_populations()),
        ("mixtures", found.compare_with_mixture()),
    ):
        asked.save(tmp_path / f"{name}.hspy")
        again = hyperspy_assb.load(tmp_path / f"{name}.hspy")
        assert type(again) is type(asked)
        assert again.summary() == asked.summary()
        assert not set(asked.summary().splitlines()) & set(found.notes)
        assert again.to_dataframe().equals(asked.to_dataframe())


def test_an_older_file_is_named_as_such(tmp_path):
    import hyperspy.api as hs

    older = hs.signals.BaseSignal(np.zeros(3))
    older.metadata.set_item("ASSB.delithiation", {"quantities": ["x"], "method": "combined"})
    older.save(tmp_path / "x.hspy")
    with pytest.raises(hyperspy_assb.errors.AssbFileError, match=r"x\.hspy is an older file"):
        hyperspy_assb.load(tmp_path / "x.hspy")


def test_every_status_has_a_sentence():
    assert all(status.sentence for status in DelithiationStatus)
    assert DelithiationStatus(3) is DelithiationStatus.NO_ELECTRODE


@pytest.mark.parametrize(
    ("references", "electrode", "kind", "message"),
    [
        ([1, 2], None, TypeError, "references must be a dictionary .* not list"),
        ((), None, TypeError, "references must be a dictionary .* not tuple"),
        (True, None, TypeError, "references must be a dictionary .* not bool"),
        ({1: True}, None, TypeError, "references must have names of materials as keys, .* not 1"),
        ({None: True}, None, TypeError, "references must have names of materials as keys, .* not None"),
        (None, 5, TypeError, "electrode must be the name of an electrode, .* not int"),
        ({"vacuum": 1, "Vacuum ": 1, "LFP": 1}, None, ValueError, "references name vacuum twice"),
    ],
)
def test_arguments_of_another_kind_are_named(references, electrode, kind, message):
    with pytest.raises(kind, match=message):
        choose_electrode(references, "combined", electrode)


def test_vacuum_may_be_written_with_a_capital():
    assert canonical_names(["Vacuum", "LFP"]) == {"Vacuum": "vacuum", "LFP": "LiFePO4"}


def test_lithium_is_no_signature_of_sodium():
    wrong = dataclasses.replace(electrode("NaxV2(PO4)3"), signatures=("Li K",))
    with pytest.raises(ValueError, match="has the signature 'Li K', but its ion is Na"):
        choose_electrode({"Na3V2(PO4)3": True, "NaV2(PO4)3": True}, "references", wrong)
