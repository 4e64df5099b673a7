"""Fitted spectra of chosen pixels, with what each part of the model adds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.models.recorded_noise import model_noise
from hyperspy_assb.signals.eels.eels_model import ASSBEELSModel

COMPONENT_NAMES = {
    "ZeroLossPeak": "zero loss",
    "ValenceContinuum": "valence",
    "VolumePlasmon": "plasmon",
    "FePO4ValenceBand": "5 eV band",
    "CarbonPiBand": "carbon π band",
    "DarkLevel": "dark level",
}


@dataclass(frozen=True)
class FittedSpectrum:
    """A measured spectrum and its model, all of shape (E,); NaN where the model was not fitted.

    Parameters
    ----------
    name
        Why it was chosen.
    index
        Of the pixel, in array order.
    energy
        Energy loss in eV: the fitted zero loss of this pixel lies at 0.
    counts, model
        Measured and expected counts.
    components
        What each part adds to the model, by name.
    std
        Standard deviation of each channel, from gain and read noise of the detector.
    reduced_deviance, t_over_lambda
        Of this pixel.
    """

    name: str
    index: tuple[int, ...]
    energy: FloatArray
    counts: FloatArray
    model: FloatArray
    components: dict[str, FloatArray]
    std: FloatArray
    reduced_deviance: float
    t_over_lambda: float


def choose_spectra(model: ASSBEELSModel, pixels: Mapping[str, int] | None = None) -> Iterator[FittedSpectrum]:
    """Spectra of chosen pixels with their fit.

    Parameters
    ----------
    model
        A fitted model.
    pixels
        Flat index of each pixel, by name; by default the best, median and worst reduced deviance, and the thinnest and
        thickest column.
    """
    quality = model.fit_quality
    deviance = np.ravel(quality.deviance.data / quality.dof.data)
    thickness = np.ravel(model.t_over_lambda())
    good = np.flatnonzero(np.isfinite(deviance) & np.isfinite(thickness))
    if pixels is None:
        by_deviance = good[np.argsort(deviance[good], kind="stable")]
        by_thickness = good[np.argsort(thickness[good], kind="stable")]
        chosen = [
            ("median fit", by_deviance[len(good) // 2]),
            ("best fit", by_deviance[0]),
            ("worst fit", by_deviance[-1]),
            ("thinnest column", by_thickness[0]),
            ("thickest column", by_thickness[-1]),
        ]
        pixels = {}
        for name, pixel in chosen:
            if int(pixel) not in pixels.values():
                pixels[name] = int(pixel)
    shape = model.axes_manager._navigation_shape_in_array or (1,)
    energy = np.array(model.axis.axis, dtype=float)
    flat = model.signal.data.reshape(-1, energy.size)
    active = [c for c in model if c.active]
    detector = model_noise(model).detector
    for name, pixel in pixels.items():
        values = {c: np.array([[np.ravel(p.map["values"])[pixel] for p in c.parameters]]) for c in active}

        def part(components: list[Any], values: dict[Any, NDArray] = values) -> FloatArray:
            expected = model._selected(components, values)[0]
            return np.where(model._channel_switches, expected, np.nan)

        expectation = part(active)
        yield FittedSpectrum(
            name=name,
            index=tuple(int(i) for i in np.unravel_index(pixel, shape)),
            energy=energy - float(np.ravel(model[0].centre.map["values"])[pixel]),
            counts=np.asarray(flat[pixel], dtype=float),
            model=expectation,
            components={COMPONENT_NAMES.get(c.name, c.name.replace("_", " ")): part([c]) for c in active},
            std=np.sqrt(detector.variance(expectation)),
            reduced_deviance=float(deviance[pixel]),
            t_over_lambda=float(thickness[pixel]),
        )
