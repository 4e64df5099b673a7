"""Whether Li K is told from the M edges beside it: where it is and where it is not."""

from __future__ import annotations

import warnings

import hyperspy.api as hs
import numpy as np
import pytest

from hyperspy_assb.eels.scattering.separability import Separability
from hyperspy_assb.simulation import EELSConditions, simulate_spectra
from hyperspy_assb.simulation.battery import spectra_to_signal

# The range and the counts of the real line scan below.
CONDITIONS = EELSConditions(dispersion=0.3, n_channels=2048, offset=-60.0)


def fitted(elements, *, dose=2.7e5, thickness=60.0, conditions=CONDITIONS):
    data = simulate_spectra({"LiFePO4": np.full(4, thickness)}, conditions, 1, dose=dose)
    model = spectra_to_signal(data, conditions, signal_type="EELS_ASSB").create_low_loss_model(elements)
    model.multifit(show_progressbar=False)
    return model


def test_the_rule():
    assert Separability("Li_K", ("Fe_M23",), 10.0).separable
    assert not Separability("Li_K", ("Fe_M23",), 10.1).separable
    assert str(Separability("Li_K", ("Mn_M23", "Co_M23"), 23.0)) == (
        "Li K cannot be separated from Mn M23 and Co M23: their overlap enlarges the variance of its areal density "
        "23 times (limit 10)."
    )
    assert "is separated from Fe M23" in str(Separability("Li_K", ("Fe_M23",), 2.0))


def test_lithium_iron_phosphate_separates():
    found = {s.edge: s for s in fitted(("Li", "Fe", "P")).edge_separability()}
    assert set(found) == {"Li_K", "Fe_M23"}
    assert found["Li_K"].overlapping == ("Fe_M23",)
    assert found["Li_K"].separable
    assert found["Li_K"].variance_inflation > 2.0  # they do overlap


def test_an_edge_alone_has_no_rival():
    assert fitted(("Li", "P")).edge_separability() == []


def test_it_needs_a_fit():
    data = simulate_spectra({"LiFePO4": np.full(2, 60.0)}, CONDITIONS, 1, dose=2.7e5)
    model = spectra_to_signal(data, CONDITIONS, signal_type="EELS_ASSB").create_low_loss_model(("Li", "Fe"))
    with pytest.raises(RuntimeError, match="Fit the model first"):
        model.edge_separability()


def test_a_layered_oxide_is_the_negative_control(shared_data):
    path = shared_data / "eels" / "nmc_battery" / "EELS_ZLP_EELS_Spectrum_Image.dm3"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # placeholder angles
        model = hs.load(path, signal_type="EELS_ASSB").create_low_loss_model(("Li", "Mn", "Co", "Ni"))
    model.multifit(show_progressbar=False)
    found = {s.edge: s for s in model.edge_separability()}
    assert not found["Li_K"].separable
    assert {"Mn_M23", "Co_M23"} <= set(found["Li_K"].overlapping)
