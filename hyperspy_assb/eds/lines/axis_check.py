"""Whether the energy axis and the resolution are what they are said to be."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.lines.column_spectra import Builder, make_builder
from hyperspy_assb.eds.lines.x_ray_lines import line_width
from hyperspy_assb.errors import AssbValueError, AssbWarning
from hyperspy_assb.fitting.fixed_shapes.kernels import CONVERGED

_STEPS = 8
"""Steps of scoring at most; one that made the fit worse is halved, and counts as well."""
_LIKELY = np.array([0.1, 0.02, 40.0])
"""Offset in keV, gain and change of resolution in eV that are not surprising: they hold what hardly any line tells."""
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
_STANDS_OUT = 10.0
"""Standard errors above which a line says where the axis lies."""
_LONGEST = (4.0, 0.02, 25.0)
"""Longest step: offset in channels, gain, and resolution in eV. The shapes are linear in them over no more."""
_FINEST = 21.0
"""eV: resolution below which no detector is."""
_SETTLED = 0.02
"""Standard errors below which a step is the last."""
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
            name: self.shift(energy)[0] * self.channel / float(line_width(energy, self.resolution))
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
                f"{self.worst:.2f} keV: the energy axis (its scale, its offset) is wrong by more than can be "
                "corrected, or an element is missing in the list.",
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


def estimate_calibration(builder: Builder, total: FloatArray) -> EnergyCalibration:
    """Find offset, gain and resolution from the lines of a summed spectrum.

    Parameters
    ----------
    builder
        Lines and instrument, with the axis as it is said to be.
    total
        Counts of all channels.

    Returns
    -------
    EnergyCalibration
        Of maximum likelihood; the heights of all lines and of the continuum are unknown as well.

    Raises
    ------
    AssbValueError
        If the spectrum holds too few counts in lines: fewer than two lines that stand out.
    """
    total = np.asarray(total, dtype=float)
    channel = float(builder.energy[1] - builder.energy[0])
    main = [line for line in builder.seen if line.name == line.family]
    families = [line.full_name for line in main]
    counts = total[builder.channels]
    stated = builder.instrument.resolution
    # Steps of the numerical derivatives: small beside the width of a line.
    small = np.array([0.1 * channel, 1e-4, 1.0])
    longest = np.array([_LONGEST[0] * channel, *_LONGEST[1:]])
    state = np.array([0.0, 0.0, stated])
    covariance = np.eye(3)
    strong: dict[str, float] = {}
    start, best, previous = None, np.inf, state
    for _ in range(_STEPS):
        states = np.vstack([state, state + np.diag(small)])
        model, *others = (
            builder.moved(offset, gain, max(resolution, _FINEST)).build({}, families)
            for offset, gain, resolution in states.tolist()
        )
        start = model.model.guess(counts) if start is None else np.maximum(start, 1e-9 * start.max())
        fit = replace(model, typical=start).fit(total[np.newaxis])
        if fit.status[0] != CONVERGED:
            raise AssbValueError("The energy axis cannot be checked: the summed spectrum cannot be fitted.")
        if fit.deviance[0] > best:
            # The last step was too long.
            state = 0.5 * (state + previous)
            continue
        best, previous = fit.deviance[0], state
        start = fit.amounts[0]
        expected = model.model.expectation(start)
        slopes = [(other.model.expectation(start) - expected) / step for other, step in zip(others, small, strict=True)]
        used = start > 0.0
        design = np.vstack([slopes, model.model.strength.T[used] @ model.model.templates]) / np.sqrt(
            np.maximum(expected, 1e-9)
        )
        scale = np.sqrt((design**2).sum(axis=1))
        scale[scale == 0.0] = 1.0
        # Gain and resolution are held near what is stated where hardly any line tells them.
        prior = np.zeros(scale.size)
        prior[:3] = 1.0 / (_LIKELY * scale[:3]) ** 2
        information = (design / scale[:, np.newaxis]) @ (design / scale[:, np.newaxis]).T + np.diag(prior)
        residual = (counts - expected) / np.sqrt(np.maximum(expected, 1e-9))
        inverse = np.linalg.pinv(information, hermitian=True) / np.outer(scale, scale)
        step = inverse[:3] @ (design @ residual)
        covariance = inverse[:3, :3]
        std = np.sqrt(np.maximum(fit.covariance[0].diagonal(), 0.0))[: len(families)]
        strong = {
            line.full_name: line.energy
            for line, value, error in zip(main, start, std, strict=False)
            if value > _STANDS_OUT * error
        }
        state = state + np.clip(step, -longest, longest)
        state[2] = np.clip(state[2], 0.5 * stated, 2.0 * stated)
        if np.all(np.abs(step) < _SETTLED * np.sqrt(covariance.diagonal()) + 1e-7):
            break
    if len(strong) < 2:
        raise AssbValueError(
            "The energy axis cannot be checked: fewer than two lines stand out of the summed spectrum."
        )
    return EnergyCalibration(
        offset=float(state[0]),
        gain=float(state[1]),
        resolution=float(state[2]),
        covariance=covariance,
        channel=channel,
        stated_resolution=stated,
        lines=strong,
        **_left(builder.energy[builder.channels], counts, expected, round(_BROAD / channel)),
    )


def _left(energy: FloatArray, counts: FloatArray, expected: FloatArray, size: int) -> dict[str, float]:
    """Share of the counts beyond noise that is not as expected, in windows of some channels, and the worst window."""
    starts = np.arange(0, counts.size, max(size, 1))
    seen, wanted = np.add.reduceat(counts, starts), np.add.reduceat(expected, starts)
    left = np.maximum(np.abs(seen - wanted) - 2.0 * np.sqrt(np.maximum(wanted, 1.0)), 0.0)
    return {"unexplained": float(left.sum() / max(seen.sum(), 1.0)), "worst": float(energy[starts[np.argmax(left)]])}


def find_calibration(recorded: EDSMap, settings: EDSOptions) -> EnergyCalibration:
    """Calibration of the axis of a map by the lines of its summed spectrum; see :func:`estimate_calibration`."""
    builder = make_builder(recorded, settings, need_factors=False)
    return estimate_calibration(builder, recorded.spectra.summed().total)


def check_calibration(builder: Builder, total: FloatArray) -> EnergyCalibration | None:
    """How far lines are from where the axis says; None where nothing can tell.

    Warns
    -----
    AssbWarning
        For each note, and where nothing can tell although there are counts.
    """
    try:
        found = estimate_calibration(builder, total)
    except ValueError as error:
        if total.sum() > _ENOUGH:
            warnings.warn(str(error), AssbWarning, stacklevel=5)
        return None
    for note in found.notes:
        warnings.warn(note, AssbWarning, stacklevel=5)
    return found
