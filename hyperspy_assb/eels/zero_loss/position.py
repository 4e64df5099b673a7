"""The zero-loss peak: its position in every pixel.

The counts are never resampled: the position is a parameter of a fit to the counts as they were recorded.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.zero_loss import peak_shape as peak_model
from hyperspy_assb.eels.zero_loss.peak_checks import flat_tops, not_zero_losses
from hyperspy_assb.eels.zero_loss.peak_search import FWHM_OF_SIGMA, SEARCH_RANGE, estimate_noise, find_spikes, search
from hyperspy_assb.eels.zero_loss.peak_shape import PeakShape
from hyperspy_assb.errors import AssbValueError

FloatArray = NDArray[np.float64]

# In standard deviations of the fitted peak: 2.5 on either side hold 90 % of the information on its position, and the
# first losses of the specimen lie outside.
_WINDOW = 2.5
# Pixels from which the common shape is taken; its error is then a sixteenth of the error in one pixel.
_SHAPE_PIXELS = 256


CHANNELS_PER_WIDTH = 3.6
"""Channels for each full width of the zero-loss peak that are enough: at what is lost, its Fourier transform is below
1e-4.

Frequencies that the peak does not pass cannot be measured, and single scattering learnt from them is noise."""


class ZeroLossStatus(IntEnum):
    """What became of a pixel."""

    OK = 0
    """The position was found."""
    EMPTY = 1
    """Every channel is zero."""
    NOT_FOUND = 2
    """No peak stands out of the noise in the range that was searched."""
    AT_EDGE = 3
    """The peak lies at the end of the energy axis, and part of it is missing."""
    NOT_CONVERGED = 4
    """The fit found no position within the peak."""
    SATURATED = 5
    """The top is cut off; the position comes from what is left of the peak, its intensity is too low."""
    NOT_ZERO_LOSS = 6
    """The first peak is a loss, such as a plasmon: its foot on the side of energy gain is not dark."""


@dataclass(frozen=True)
class ZeroLossEstimate:
    """Position of the zero-loss peak.

    Parameters
    ----------
    centre
        Energy of the mode of the peak in eV, shape (...); NaN where there is none. For a symmetrical peak this is
        its centre; for an asymmetric one it is where the peak is highest, before it is integrated over channels.
    centre_std
        Its standard deviation in eV, shape (...), from counting noise and from the error of the common shape.
    fwhm
        Full width at half maximum in eV, shape (...).
    intensity
        Counts of the fitted peak within 1.06 full widths of its mode (98.8 % of a Gaussian), shape (...).
    status
        A :class:`ZeroLossStatus` for each pixel, shape (...), 8-bit integers.
    gain
        Counts per electron, as given or as estimated from the scatter around the fitted peaks.
    shape
        The shape that was fitted, common to all pixels.
    """

    centre: FloatArray
    centre_std: FloatArray
    fwhm: FloatArray
    intensity: FloatArray
    status: NDArray[np.int8]
    gain: float
    shape: PeakShape


def estimate_centre(
    counts: ArrayLike,
    energy: ArrayLike,
    *,
    gain: float | None = 1.0,
    read_variance: float = 0.0,
    search_range: tuple[float, float] = SEARCH_RANGE,
    shape: PeakShape | None = None,
) -> ZeroLossEstimate:
    """Estimate the position of the zero-loss peak in every spectrum, to a fraction of a channel.

    The peak is found from the counts alone: it is the first that stands out of the noise, not necessarily the tallest,
    and lone channels (X-rays) do not count. A peak integrated over the channels is then fitted by Poisson
    quasi-likelihood to 2.5 standard deviations on either side. Its shape, symmetrical or not, is that which describes
    all spectra together; amplitude, position and width belong to each.

    Parameters
    ----------
    counts
        Recorded counts, shape (..., E); zero and negative counts are valid.
    energy
        Centres of the channels in eV, shape (E,), uniform and increasing.
    gain
        Counts per electron; None: estimated.
    read_variance
        Variance of a channel without electrons, in counts squared.
    search_range
        Energies in eV between which the maximum is sought.
    shape
        Shape of the peak from an earlier call, such as that on a part of the same spectrum image; None: estimated.

    Returns
    -------
    ZeroLossEstimate
        Position, its standard deviation, width, intensity and status, each of shape (...).

    Raises
    ------
    ValueError
        If the data are empty or not finite, the axis is reversed or does not match, or no channel lies in
        `search_range`.
    NotImplementedError
        If the energy axis is non-uniform.

    Notes
    -----
    With a common shape the standard deviation approaches sigma / sqrt(N) for a Gaussian of N electrons. A single
    spectrum must also tell its own asymmetry: if it needs one, the standard deviation is about 1.6 times larger, and
    where the counts are too few to tell, the peak passes for symmetrical.

    Examples
    --------
    >>> import numpy as np
    >>> energy = np.arange(-5, 20, 0.1)
    >>> counts = 1e4 * np.exp(-0.5 * ((energy - 0.734) / 0.4) ** 2)
    >>> round(float(estimate_centre(counts, energy).centre), 4)
    0.734
    """
    axis = np.asarray(energy, dtype=np.float64)
    checks.check_energy_axis(axis)
    checks.check_counts(counts, axis)
    return find_centre(counts, axis, gain=gain, read_variance=read_variance, search_range=search_range, shape=shape)


def find_centre(
    counts: ArrayLike,
    axis: FloatArray,
    *,
    gain: float | None = 1.0,
    read_variance: float = 0.0,
    search_range: tuple[float, float] = SEARCH_RANGE,
    shape: PeakShape | None = None,
) -> ZeroLossEstimate:
    """What ``estimate_centre`` does, for counts and an axis that were checked."""
    data = np.asarray(counts)
    leading = data.shape[:-1]
    data = np.ascontiguousarray(data.reshape(-1, axis.size), dtype=np.float64)
    offset, scale = axis[0], (axis[-1] - axis[0]) / (axis.size - 1)
    first = int(np.searchsorted(axis, search_range[0]))
    last = int(np.searchsorted(axis, search_range[1], side="right"))
    if last - first < 3:
        raise AssbValueError(
            f"There is no zero-loss peak in range: the energy axis, {axis[0]:g} to {axis[-1]:g} eV, has no channels "
            f"between {search_range[0]:g} and {search_range[1]:g} eV (search_range)."
        )
    if gain is not None and not gain > 0:
        raise AssbValueError(f"gain is {gain}: it must be positive.")
    # For the search alone: the fit tells the gain better, from the scatter around the peak itself.
    rough = estimate_noise(data) if gain is None else (float(gain), float(read_variance))
    noise = (rough[0], float(read_variance))
    position, width = search(data, first, last, *rough)
    status = np.where(position < 0, ZeroLossStatus.NOT_FOUND, ZeroLossStatus.OK).astype(np.int8)
    status[~np.any(data, axis=-1)] = ZeroLossStatus.EMPTY
    fits = _Fits(data, position, width, status, noise, find_spikes(data, *rough))
    fits.follow(estimate_gain=gain is None)
    if shape is None:
        shape = fits.estimate_shape(known_gain=gain is not None)
    result = fits.finish(shape, estimated_gain=gain is None)
    centre, centre_std, fwhm, intensity, used_gain = result
    at, width = offset + scale * centre, scale * fwhm
    wrong = not_zero_losses(data, axis, at, width, rough[0])
    for values in (centre, centre_std, fwhm, intensity):
        values[wrong] = np.nan
    fits.status[wrong] = ZeroLossStatus.NOT_ZERO_LOSS
    cut = flat_tops(data, axis, at, width, rough[0]) & (fits.status == ZeroLossStatus.OK)
    fits.status[cut] = ZeroLossStatus.SATURATED
    return ZeroLossEstimate(
        centre=(offset + scale * centre).reshape(leading),
        centre_std=(scale * centre_std).reshape(leading),
        fwhm=(scale * fwhm).reshape(leading),
        intensity=intensity.reshape(leading),
        status=fits.status.reshape(leading),
        gain=used_gain,
        shape=shape,
    )


def channels_together(counts: ArrayLike, energy: ArrayLike) -> int:
    """How many channels to add up, so that :data:`CHANNELS_PER_WIDTH` or more lie in the width of the peak."""
    axis = np.asarray(energy, dtype=np.float64)
    width = find_centre(counts, axis).fwhm
    known = width[np.isfinite(width)]
    scale = (axis[-1] - axis[0]) / (axis.size - 1)
    return max(1, int(np.median(known) / scale / CHANNELS_PER_WIDTH)) if known.size else 1


class _Fits:
    """The fits of all pixels, in units of channels."""

    def __init__(
        self,
        data: FloatArray,
        position: NDArray[np.int64],
        width: FloatArray,
        status: NDArray[np.int8],
        noise: tuple[float, float],
        spikes: NDArray[np.bool_],
    ) -> None:
        self.data, self.status, self.noise = data, status, noise
        self.use = ~spikes
        self.theta = np.zeros((data.shape[0], 3))
        self.start = np.zeros(data.shape[0], dtype=np.int64)
        self.stop = self.start.copy()
        rows = np.flatnonzero(status == ZeroLossStatus.OK)
        sigma = np.maximum(width[rows] / FWHM_OF_SIGMA, 0.4)
        height = np.maximum(data[rows, position[rows]], 1e-300)
        # A spike may sit on the maximum: take the height from the peak's surroundings.
        for i, row in enumerate(rows):
            half = max(int(0.5 * sigma[i]), 1)
            near = data[row, max(position[row] - half, 0) : position[row] + half + 1]
            height[i] = max(np.median(near), 0.2 * near.mean(), 1e-300)
        self.theta[rows] = np.stack([np.log(height * sigma), position[rows].astype(float), np.log(sigma)], axis=1)
        self.found_at, self.found_sigma = position, np.maximum(width / FWHM_OF_SIGMA, 0.4)
        self._mark_saturated(rows)

    def _mark_saturated(self, rows: NDArray[np.int64]) -> None:
        """Leave out the channels of a cut-off top: neighbours that all hold the same maximum."""
        for row in rows:
            near = slice(max(self.found_at[row] - 200, 0), self.found_at[row] + 201)
            window = self.data[row, near]
            top = window == window.max()
            # Three equal maxima side by side happen by chance where the counts are low.
            fewest = 3 if window.max() > 1e4 * self.noise[0] else 6
            if top.sum() >= fewest and np.ptp(np.flatnonzero(top)) == top.sum() - 1:
                self.use[row, near] &= ~top
                self.status[row] = ZeroLossStatus.SATURATED

    def _live(self) -> NDArray[np.int64]:
        return np.flatnonzero((self.status == ZeroLossStatus.OK) | (self.status == ZeroLossStatus.SATURATED))

    def _set_windows(self, rows: NDArray[np.int64]) -> None:
        size = self.data.shape[1]
        sigma = np.exp(self.theta[rows, 2])
        half = np.maximum(np.rint(_WINDOW * sigma), 2).astype(np.int64)
        middle = np.rint(self.theta[rows, 1]).astype(np.int64)
        self.start[rows] = np.clip(middle - half, 0, size)
        self.stop[rows] = np.clip(middle + half + 1, 0, size)
        cut = (self.stop[rows] - self.start[rows]) < 0.8 * (2 * half + 1)
        self.status[rows[cut]] = ZeroLossStatus.AT_EDGE

    def _windows(self, rows: NDArray[np.int64]) -> peak_model.Windows:
        return self.data[rows], self.use[rows], self.start[rows], self.stop[rows]

    def _fit(self, shape: PeakShape) -> tuple[NDArray[np.int64], FloatArray, FloatArray, NDArray[np.int64]]:
        """Fit the live pixels; returns their rows, information, chi-squared and numbers of channels."""
        rows = self._live()
        theta = self.theta[rows]
        if rows.size == 0:
            return rows, np.zeros((0, 3, 3)), np.zeros(0), np.zeros(0, dtype=np.int64)
        information, chi2, used, converged = peak_model.fit_pixels(
            self._windows(rows), theta, shape.coefficients, self.noise, self.rule(theta)
        )
        self.theta[rows] = theta
        sigma = np.exp(theta[:, 2])
        lost = ~np.isfinite(theta).all(axis=1) | ~converged
        lost |= np.abs(theta[:, 1] - self.found_at[rows]) > 3 * np.maximum(self.found_sigma[rows], sigma) + 1
        self.status[rows[lost]] = ZeroLossStatus.NOT_CONVERGED
        return rows, information, chi2, used

    @staticmethod
    def rule(theta: FloatArray) -> tuple[FloatArray, FloatArray]:
        return peak_model.quadrature(float(np.exp(np.nanmin(theta[:, 2]))))

    def follow(self, *, estimate_gain: bool) -> None:
        """Fit Gaussians, the window following the peak, and leave out spikes."""
        for turn in range(3):
            self._set_windows(self._live())
            _, _, chi2, used = self._fit(PeakShape())
            if turn < 2:
                self._leave_out_spikes()
        self._set_windows(self._live())
        freedom = used.sum() - 3 * used.size
        if estimate_gain and freedom > 0 and np.isfinite(chi2.sum()):
            # The scatter around a Gaussian bounds the gain from above; its order of magnitude is what fits need.
            self.noise = (self.noise[0] * max(float(chi2.sum() / freedom), 1e-12), self.noise[1])

    def _leave_out_spikes(self) -> None:
        """Leave out the channels that stand far above the fitted Gaussian."""
        for row in self._live():
            window = slice(self.start[row], self.stop[row])
            log_amplitude, centre, log_width = self.theta[row]
            u = (np.arange(window.start, window.stop) - centre) / np.exp(log_width)
            expected = np.exp(log_amplitude - log_width - 0.5 * u**2)
            floor = 0.01 * expected.max(initial=0.0)
            excess = self.data[row, window] - expected
            deviation = np.sqrt(self.noise[0] * np.maximum(expected, floor) + self.noise[1])
            worst = int(np.argmax(excess / deviation))
            # A wrong model errs by tens of percent over many channels; an X-ray by multiples in one or two.
            if excess[worst] > 10 * deviation[worst] and excess[worst] > 1.5 * expected[worst] + 0.3 * expected.max():
                near = slice(max(window.start + worst - 1, 0), window.start + worst + 2)
                if self.use[row, window].sum() > 6:
                    self.use[row, near] = False

    def estimate_shape(self, *, known_gain: bool) -> PeakShape:
        """The shape that describes an even choice of pixels."""
        rows = np.flatnonzero(self.status == ZeroLossStatus.OK)
        if rows.size == 0:
            return PeakShape()
        rows = rows[np.unique(np.linspace(0, rows.size - 1, _SHAPE_PIXELS).astype(int))]
        theta = self.theta[rows]
        shape, theta = peak_model.estimate_shape(
            self._windows(rows), theta, self.noise, self.rule(theta), known_gain=known_gain
        )
        return shape

    def finish(
        self, shape: PeakShape, *, estimated_gain: bool
    ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, float]:
        """Fit all pixels with the common shape; centre, its deviation, width (in channels), intensity and gain."""
        rows, information, chi2, used = self._fit(shape)
        n = self.data.shape[0]
        centre, centre_std, fwhm, intensity = (np.full(n, np.nan) for _ in range(4))
        keep = np.isin(rows, self._live())
        rows, information = rows[keep], information[keep]
        gain = self.noise[0]
        freedom = used[keep].sum() - 3 * rows.size
        if estimated_gain and freedom > 0:
            gain *= float(chi2[keep].sum() / freedom)
        if rows.size:
            covariance = np.linalg.pinv(information, hermitian=True) * (gain / self.noise[0])
            sigma = np.exp(self.theta[rows, 2])
            full = shape.half_width()
            u = np.linspace(-1.06 * full, 1.06 * full, 401)
            area = float(np.trapezoid(shape.density(u), u))
            centre[rows] = self.theta[rows, 1]
            centre_std[rows] = np.sqrt(covariance[:, 1, 1] + (shape.mode_std * sigma) ** 2)
            fwhm[rows] = full * sigma
            intensity[rows] = np.exp(self.theta[rows, 0]) * area
        return centre, centre_std, fwhm, intensity, gain
