"""Single-scattering distributions of many spectra by Fourier-log deconvolution with one zero loss.

One zero-loss peak serves all spectra; each is shifted to it in Fourier space, where a shift is exact: the counts are
never interpolated. The error of the position of a spectrum then stays where its zero loss is: the logarithm turns it
into a derivative of the peak, and leaves the losses alone.

Source of the method: D. W. Johnson and J. C. H. Spence, J. Phys. D 7, 771 (1974), doi:10.1088/0022-3727/7/6/304;
R. F. Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), section 4.1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import fft
from scipy.interpolate import CubicSpline

from hyperspy_assb.eels import checks
from hyperspy_assb.eels.zero_loss import tail
from hyperspy_assb.eels.zero_loss.position import estimate_centre
from hyperspy_assb.errors import AssbValueError

FloatArray = NDArray[np.float64]
Counts = NDArray[np.floating]
ComplexArray = NDArray[np.complex128]

THICKEST = 2.5
"""Largest t/lambda: near pi the phase of the logarithm turns over."""
# Full widths on either side whose counts give the zero-loss intensity.
_WINDOW = 1.0
# Share of the channels at the upper end that the continuation beyond it is taken from.
_END_SHARE = 0.15
_CHUNK = 512
_NO_PEAK = (
    "No zero-loss peak could be fitted to the sum of the spectra: give zero_loss=, a spectrum recorded in vacuum "
    "with the same dispersion."
)


@dataclass(frozen=True)
class Grid:
    """The periodic loss axis on which transforms are taken: sample n lies at n channels from the zero loss.

    Parameters
    ----------
    step
        Width of a channel in eV.
    size
        Samples of the period.
    """

    step: float
    size: int

    @classmethod
    def of(cls, energy: FloatArray) -> Grid:
        """A period four times the energy axis, so that what plural scattering puts beyond its end does not return."""
        step = float((energy[-1] - energy[0]) / (energy.size - 1))
        return cls(step, int(fft.next_fast_len(4 * energy.size, real=True)))

    @property
    def frequency(self) -> FloatArray:
        """Angular frequencies in 1/eV, shape (K,)."""
        return 2 * np.pi * np.asarray(fft.rfftfreq(self.size, self.step))

    @property
    def loss(self) -> FloatArray:
        """Losses of the samples in eV, negative in the second half, shape (size,)."""
        n = np.arange(self.size)
        return self.step * np.where(n < self.size // 2, n, n - self.size)

    def transform(self, values: FloatArray) -> ComplexArray:
        """Transform of values from loss 0 upwards, shape (..., E) to (..., K)."""
        return np.asarray(fft.rfft(values, self.size, axis=-1))

    def back(self, transforms: ComplexArray) -> FloatArray:
        """Values on :attr:`loss`."""
        return np.asarray(fft.irfft(transforms, self.size, axis=-1))


@dataclass(frozen=True)
class ZeroLossShape:
    """A zero-loss peak of unit area whose mode lies at 0 eV.

    Parameters
    ----------
    values
        Share of each sample of the grid, shape (size,); adds up to 1.
    fwhm
        Full width at half maximum in eV.
    """

    values: FloatArray
    fwhm: float

    def share(self, grid: Grid, low: FloatArray, high: FloatArray) -> FloatArray:
        """Share of the peak between losses `low` and `high`, in eV, any shape."""
        half = grid.size // 2
        running = np.append(0.0, np.cumsum(np.roll(self.values, half)))
        edges = grid.step * (np.arange(grid.size + 1) - half - 0.5)
        # The running sum is known at the edges of channels; between them it is as smooth as the peak.
        smooth = CubicSpline(edges, running)
        return np.asarray(smooth(high) - smooth(low))


@dataclass(frozen=True)
class SingleScattering:
    """Single-scattering distributions of many spectra.

    Parameters
    ----------
    loss
        Energy losses in eV from 0 upwards, shape (E,).
    distribution
        Probability of single scattering in each channel, for one zero-loss electron, at the resolution of the zero
        loss, shape (P, E), single precision. The area is t/lambda.
    t_over_lambda
        Logarithm of all counts over the zero-loss counts, shape (P,).
    intensity
        Counts of the zero loss, shape (P,).
    recorded
        All recorded counts, shape (P,).
    """

    loss: FloatArray
    distribution: NDArray[np.float32]
    t_over_lambda: FloatArray
    intensity: FloatArray
    recorded: FloatArray


def align(counts: Counts, energy: FloatArray, centre: FloatArray, grid: Grid) -> ComplexArray:
    """Transforms of spectra with their zero loss brought to 0 eV.

    Parameters
    ----------
    counts
        Shape (P, E), or continued beyond the axis (P, E + M).
    energy
        Centres of the channels in eV; only the first matters.
    centre
        Position of the zero loss in eV, shape (P,).
    grid
        Where the transforms are taken.

    Returns
    -------
    ComplexArray
        Shape (P, K).
    """
    phase = np.exp(1j * (centre - energy[0])[:, None] * grid.frequency)
    aligned: ComplexArray = grid.transform(np.asarray(counts, dtype=np.float64)) * phase
    return aligned


def sum_aligned(counts: Counts, energy: FloatArray, centre: FloatArray, grid: Grid) -> FloatArray:
    """Sum of spectra with their zero losses at 0 eV, on the losses of the grid, shape (size,)."""
    total = np.zeros(grid.frequency.size, dtype=complex)
    for begin in range(0, centre.size, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        total += align(counts[part], energy, centre[part], grid).sum(axis=0)
    return grid.back(total)


def fit_zero_loss_shape(
    total: FloatArray, grid: Grid, *, fwhm: float, first: float, gain: float = 1.0, read_variance: float = 0.0
) -> ZeroLossShape:
    """Fit the zero loss of a sum of aligned spectra.

    An asymmetric pseudo-Voigt peak is fitted to the gain side and to 1.5 full widths of the loss side, as
    :func:`hyperspy_assb.eels.zero_loss.removal.remove_zero_loss` does for single spectra. Up to half of the full width
    the peak is the measured one, beyond it the fitted one.

    Parameters
    ----------
    total
        Counts on the grid, as of :func:`sum_aligned`, shape (size,).
    grid
        The grid.
    fwhm
        Full width at half maximum in eV, to start from.
    first
        Lowest loss in eV that was recorded in all spectra.
    gain, read_variance
        Noise of the sum: counts per electron, and variance of a channel without electrons in counts squared.

    Returns
    -------
    ZeroLossShape
        With its mode at 0 eV.

    Raises
    ------
    ValueError
        If no peak can be fitted.
    """
    loss = grid.loss
    order = np.argsort(loss, kind="stable")
    low = max(first, -max(tail.GAIN_SIDE * fwhm, 6 * grid.step))
    use = order[(loss[order] >= low) & (loss[order] <= max(tail.LOSS_SIDE * fwhm, 3 * grid.step))]
    area = float(total[np.abs(loss) <= fwhm].sum())
    if not area > 0 or use.size < 6:
        raise AssbValueError(_NO_PEAK)
    theta = tail.start(area, fwhm)
    rule = np.polynomial.legendre.leggauss(8)
    _, converged = tail.fit_tail(total[use], loss[use], grid.step, theta, gain, max(read_variance, 1e-9 * area), rule)
    if not converged:
        raise AssbValueError(_NO_PEAK)
    fitted, _ = tail.evaluate(loss, grid.step, theta, rule)
    values = np.maximum(fitted, 0.0)
    # The measured top: no line shape has the exact form of the peak, and its area is that of the zero loss.
    core = (loss >= max(first, -2.0 * fwhm)) & (loss <= 0.5 * fwhm)
    values[core] = total[core]
    return ZeroLossShape(values / values.sum(), float(np.exp(theta[2])))


def measured_zero_loss_shape(reference: ArrayLike, energy: ArrayLike, grid: Grid) -> ZeroLossShape:
    """The zero loss that a spectrum recorded in vacuum shows.

    Parameters
    ----------
    reference
        Counts, shape (R,).
    energy
        Its channels in eV, shape (R,), as wide as those of the grid.
    grid
        Where it is wanted.

    Returns
    -------
    ZeroLossShape
        With its mode at 0 eV.

    Raises
    ------
    ValueError
        If it is not one spectrum, its channels are of another width, or it has no peak.
    """
    counts, axis = np.asarray(reference, dtype=np.float64), np.asarray(energy, dtype=np.float64)
    if counts.ndim != 1:
        raise AssbValueError(f"zero_loss must be one spectrum, not an array of shape {counts.shape}: sum its pixels.")
    checks.check_energy_axis(axis, name="energy axis of zero_loss")
    checks.check_counts(counts, axis, name="zero_loss")
    step = float((axis[-1] - axis[0]) / (axis.size - 1))
    if abs(step / grid.step - 1) > 1e-3:
        raise AssbValueError(
            f"The channels of zero_loss are {step:g} eV wide, those of the signal {grid.step:g} eV: record both with "
            "the same dispersion."
        )
    known = estimate_centre(counts, axis, gain=None)
    if not np.isfinite(known.centre):
        raise AssbValueError("zero_loss has no peak: it must be a spectrum recorded in vacuum.")
    if axis.size > grid.size // 2:
        # A long reference holds nothing but noise far from its peak.
        near = np.abs(axis - float(known.centre)) <= 0.24 * grid.size * grid.step
        counts, axis = counts[near], axis[near]
    values = grid.back(align(counts[None], axis, known.centre[None], grid))[0]
    return ZeroLossShape(values / values.sum(), float(known.fwhm))


def estimate_single_scattering(
    counts: Counts,
    energy: FloatArray,
    centre: FloatArray,
    zero_loss: ZeroLossShape,
    *,
    end: float | None = None,
    resolution: ZeroLossShape | None = None,
    exponent: float | None = None,
    middle: float | None = None,
) -> SingleScattering:
    """Remove zero loss and plural scattering from every spectrum.

    Parameters
    ----------
    counts
        Recorded counts, shape (P, E), finite.
    energy
        Centres of the channels in eV, shape (E,), uniform and increasing.
    centre
        Position of the zero loss of each spectrum in eV, shape (P,).
    zero_loss
        The peak that all of them have, on ``Grid.of(energy)``.
    end
        Highest loss in eV that is returned; None: what all spectra hold.
    resolution
        Peak that the distributions are broadened by; None: the zero loss itself. One that is narrower raises noise.
    exponent
        Exponent of the power law by which the spectra go on beyond their upper end; None: that of these spectra, which
        should be the same for spectra that are compared.
    middle
        Position in eV from which that power law counts; None: the median of `centre`.

    Returns
    -------
    SingleScattering
        For each spectrum, on losses from 0 eV.

    Notes
    -----
    The distribution at a loss depends on the counts up to that loss alone. Beyond the upper end the spectra go on as
    the power law of their last channels, which matters for t/lambda.
    """
    grid = Grid.of(energy)
    pixels = centre.size
    last = float(energy[-1] - centre.max()) if end is None else end
    size = int(np.floor(last / grid.step + 1e-6)) + 1
    exponent = end_exponent(counts, energy, centre) if exponent is None else exponent
    middle = float(np.median(centre)) if middle is None else middle
    own = np.asarray(fft.rfft(zero_loss.values))
    shown = own if resolution is None else np.asarray(fft.rfft(resolution.values))
    known = np.abs(own) > 1e-12
    intensity = zero_loss_intensity(counts, energy, centre, zero_loss, grid)
    distribution = np.empty((pixels, size), dtype=np.float32)
    everything = np.empty(pixels)
    for begin in range(0, pixels, _CHUNK):
        part = slice(begin, begin + _CHUNK)
        continued = _continue(counts[part], energy, middle, exponent)
        everything[part] = continued.sum(axis=1)
        ratio = align(continued, energy, centre[part], grid)
        ratio /= np.where(known, own, 1.0) * intensity[part, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            logarithm = np.log(ratio)
        logarithm[~np.isfinite(logarithm) | ~known] = 0.0
        distribution[part] = grid.back(shown * logarithm)[:, :size]
    with np.errstate(divide="ignore", invalid="ignore"):
        t_over_lambda = np.log(everything / intensity)
    return SingleScattering(
        grid.step * np.arange(size, dtype=np.float64),
        distribution,
        t_over_lambda,
        intensity,
        np.asarray(counts.sum(axis=1, dtype=np.float64), dtype=np.float64),
    )


def zero_loss_intensity(
    counts: Counts, energy: FloatArray, centre: FloatArray, zero_loss: ZeroLossShape, grid: Grid
) -> FloatArray:
    """Counts of the zero loss of each spectrum, from those within a full width of its position, shape (P,)."""
    half = max(_WINDOW * zero_loss.fwhm, grid.step)
    first = np.clip(np.rint((centre - half - energy[0]) / grid.step).astype(int), 0, energy.size - 1)
    last = np.clip(np.rint((centre + half - energy[0]) / grid.step).astype(int), 0, energy.size - 1)
    running = np.concatenate([np.zeros((centre.size, 1)), np.cumsum(counts, axis=1, dtype=np.float64)], axis=1)
    rows = np.arange(centre.size)
    inside = running[rows, last + 1] - running[rows, first]
    share = zero_loss.share(grid, energy[first] - 0.5 * grid.step - centre, energy[last] + 0.5 * grid.step - centre)
    return np.asarray(inside / share)


def end_exponent(counts: Counts, energy: FloatArray, centre: FloatArray) -> float:
    """Exponent of the power law by which the mean of the spectra ends; 3 where the counts do not tell."""
    n = max(int(_END_SHARE * energy.size), 4)
    mean = np.asarray(counts[:, -n:].mean(axis=0))
    halves = mean[: n // 2].sum() / max(n // 2, 1), mean[n // 2 :].sum() / max(n - n // 2, 1)
    loss = energy[-n:] - float(np.median(centre))
    if min(halves) <= 0 or loss[0] <= 0:
        return 3.0
    where = loss[: n // 2].mean(), loss[n // 2 :].mean()
    return float(np.clip(np.log(halves[0] / halves[1]) / np.log(where[1] / where[0]), 1.0, 8.0))


def _continue(counts: Counts, energy: FloatArray, middle: float, exponent: float) -> FloatArray:
    """Spectra with a power law that is faded out over as many channels again as they have."""
    n = max(int(_END_SHARE * energy.size), 4)
    size = energy.size
    step = energy[1] - energy[0]
    shape = (np.maximum(energy - middle, step) / energy[-1]) ** -exponent
    amplitude = np.maximum(counts[:, -n:].sum(axis=1), 0.0) / shape[-n:].sum()
    beyond = ((energy[-1] - middle + step * np.arange(1, size + 1)) / energy[-1]) ** -exponent
    fade = np.cos(0.5 * np.pi * np.arange(1, size + 1) / (size + 1)) ** 2
    return np.concatenate([counts, amplitude[:, None] * (beyond * fade)], axis=1)
