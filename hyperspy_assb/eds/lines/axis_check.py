"""Whether the energy axis and the resolution are what they are said to be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hyperspy_assb.eds.detector import DetectorShape
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.lines.column_spectra import Builder, make_builder
from hyperspy_assb.eds.lines.shape_fit import Part, ShapeFit, fit_shapes
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.errors import AssbWarning

_BROAD = 0.15
"""keV: windows in which counts are compared with the fit, as wide as a line."""
_UNEXPLAINED = 0.1
"""Share of the counts that shapes of lines do not account for."""
_TELL = 0.1
"""Share of its width by which a line must be off before it is worth saying."""
_TELL_RESOLUTION = 0.05
"""Share by which the resolution must be off before it is worth saying."""
_SURE = 4.0
"""Standard errors by which either must be off as well."""
_ENOUGH = 1e4
"""Counts with which an axis that cannot be checked is worth a word."""


@dataclass(frozen=True)
class EnergyCalibration:
    """How far lines are from where the axis says.

    Parameters
    ----------
    offset
        keV by which a line of energy 0 appears too high.
    gain
        Relative: a line of energy E appears at ``E (1 + gain) + offset``.
    resolution
        Full width at half maximum in eV at Mn Kα.
    covariance
        Of the three, from counting.
    channel
        Width of a channel in keV.
    stated_resolution
        eV.
    lines
        Energy in keV of main lines with enough counts, by name.
    unexplained
        Share of the counts that lie where the fit of lines and continuum has none, or lack where it has some.
    worst
        keV where most of them are.
    width_slope
        eV by which the square of the width grows for each eV.
    """

    offset: float
    gain: float
    resolution: float
    covariance: FloatArray
    channel: float
    stated_resolution: float
    lines: Mapping[str, float]
    unexplained: float = 0.0
    worst: float = 0.0
    width_slope: float = DetectorShape.width_slope

    def shift(self, energy: float) -> tuple[float, float]:
        """Channels by which a line of some energy in keV appears too high, and the standard error."""
        slope = np.array([1.0, energy, 0.0])
        value = self.offset + self.gain * energy
        return value / self.channel, float(np.sqrt(slope @ self.covariance @ slope)) / self.channel

    @property
    def shifts(self) -> dict[str, tuple[float, float]]:
        """Shift in channels and standard error of each line."""
        return {name: self.shift(energy) for name, energy in self.lines.items()}

    @property
    def shares_of_width(self) -> dict[str, float]:
        """Shift of each line over its full width at half maximum."""
        return {
            name: self.shift(energy)[0] * self.channel / float(line_width(energy, self.resolution, self.width_slope))
            for name, energy in self.lines.items()
        }

    def _sure(self, name: str) -> bool:
        value, std = self.shifts[name]
        return abs(value) > _SURE * std

    @property
    def trusted(self) -> bool:
        """Whether the lines that were found are where the counts are."""
        return self.unexplained <= _UNEXPLAINED

    def corrected(self, offset: float, scale: float, *, per_keV: float = 1.0) -> tuple[float, float]:
        """Offset and scale of the axis on which lines lie where they belong, in its own unit.

        Parameters
        ----------
        offset, scale
            Of the axis as it is stated.
        per_keV
            How many of its units one keV is.
        """
        # Lines of energy E appear at E (1 + gain) + offset.
        return (offset - per_keV * self.offset) / (1.0 + self.gain), scale / (1.0 + self.gain)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is wrong, in words; empty where nothing is."""
        found = []
        if not self.trusted:
            # What the fit says of the axis then means nothing.
            return (
                f"Lines and continuum leave {100 * self.unexplained:.0f} % of the counts unexplained, most near "
                f"{self.worst:.2f} keV: the energy axis (its scale, its offset) is too far off to be corrected, or an "
                "element is missing in the list.",
            )
        off = {n: share for n, share in self.shares_of_width.items() if abs(share) > _TELL and self._sure(n)}
        if off:
            name = max(off, key=lambda n: abs(off[n]))
            value, std = self.shifts[name]
            low = min(self.lines, key=lambda n: self.lines[n])
            soft = "O_Ka" if "O_Ka" in self.lines else low
            at, at_std = self.shifts[soft]
            found.append(
                f"The energy axis is off: {name.replace('_', ' ')} lies {value:+.2f} ± {std:.2f} channels "
                f"({100 * off[name]:+.0f} % of its width) from its energy, {soft.replace('_', ' ')} {at:+.2f} ± "
                f"{at_std:.2f}. Correct it with correct_energy_calibration() (assb fit --correct-energy)."
            )
        error = float(np.sqrt(self.covariance[2, 2]))
        change = self.resolution - self.stated_resolution
        if abs(change) > max(_SURE * error, _TELL_RESOLUTION * self.stated_resolution):
            found.append(
                f"The resolution at Mn Kα is {self.resolution:.0f} ± {error:.0f} eV, not "
                f"{self.stated_resolution:.0f} eV as stated."
            )
        return tuple(found)


def estimate_calibration(builder: Builder, total: FloatArray, *, shapes: ShapeFit | None = None) -> EnergyCalibration:
    """Find offset, gain and resolution from the lines of a summed spectrum.

    Parameters
    ----------
    builder
        Lines and instrument, with the axis as it is said to be.
    total
        Counts of all channels.
    shapes
        Lines as they were found in it; None: they are found.

    Returns
    -------
    EnergyCalibration
        Of maximum likelihood; the heights of all lines and of the continuum, and the shape of lines, are unknown as
        well.

    Raises
    ------
    AssbValueError
        If the spectrum holds too few counts in lines: fewer than two lines that stand out.
    """
    found = fit_shapes(builder, total) if shapes is None else shapes
    channel = float(builder.energy[1] - builder.energy[0])
    return EnergyCalibration(
        offset=found.offset,
        gain=found.gain,
        resolution=found.resolution,
        covariance=found.covariance,
        channel=channel,
        stated_resolution=builder.instrument.resolution,
        lines=found.lines,
        width_slope=found.detector.width_slope,
        **unexplained_share(builder.energy[builder.channels], found.counts, found.expected, round(_BROAD / channel)),
    )


def unexplained_share(
    energy: FloatArray, counts: FloatArray, expected: FloatArray, size: int | None = None
) -> dict[str, float]:
    """Share of the counts beyond noise that is not as expected, in windows of some channels, and the worst window.

    Parameters
    ----------
    energy, counts, expected
        Of the channels; keV.
    size
        Channels of a window; None: as wide as a line.
    """
    size = round(_BROAD / float(energy[1] - energy[0])) if size is None else size
    starts = np.arange(0, counts.size, max(size, 1))
    seen, wanted = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
    left = np.maximum(np.abs(seen - wanted) - 2.0 * np.sqrt(np.maximum(wanted, 1.0)), 0.0)
    return {"unexplained": float(left.sum() / max(seen.sum(), 1.0)), "worst": float(energy[starts[np.argmax(left)]])}


def find_calibration(recorded: EDSMap, settings: EDSOptions) -> EnergyCalibration:
    """Calibration of the axis of a map by the lines of its summed spectrum; see :func:`estimate_calibration`."""
    builder = make_builder(recorded, settings, need_factors=False)
    return estimate_calibration(builder, recorded.spectra.summed().total)


def check_calibration(
    builder: Builder, total: FloatArray, *, detector: DetectorShape | None = None, parts: Sequence[Part] = ()
) -> tuple[EnergyCalibration, ShapeFit] | None:
    """How far lines are from where the axis says, and lines as they are; None where nothing can tell.

    Parameters
    ----------
    builder, total
        As for :func:`estimate_calibration`.
    detector, parts
        As for :func:`.fit_shapes`.

    Warns
    -----
    AssbWarning
        For each note, and where nothing can tell although there are counts.
    """
    try:
        shapes = fit_shapes(builder, total, detector=detector, parts=parts)
    except ValueError as error:
        if total.sum() > _ENOUGH:
            warnings.warn(str(error), AssbWarning, stacklevel=5)
        return None
    found = estimate_calibration(builder, total, shapes=shapes)
    for note in found.notes:
        warnings.warn(note, AssbWarning, stacklevel=5)
    return found, shapes
