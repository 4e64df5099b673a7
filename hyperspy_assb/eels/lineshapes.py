"""Line shapes of the low-loss spectrum, with exact derivatives.

Each is a :class:`~hyperspy_assb.fitting.spectra.line_shape.LineShape`. The zero-loss peak is a density of counts;
everything else is a density of single-scattering probability, relative to the zero loss, so that its area is a
contribution to t/lambda.
"""

from __future__ import annotations

import math

import numba
import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, LineShape, Parameter, Role
from hyperspy_assb.fitting.spectra.special_functions import exp

_GAUSS = 2.0 * math.sqrt(math.log(2.0) / math.pi)
_LN16 = 4.0 * math.log(2.0)


@numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})
def _zero_loss(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    intensity, centre, fwhm, asymmetry, fraction, tail, length = parameters
    rate, height = 1.0 / length, 1.0 / (math.pi * length)
    core_share, wing_share = intensity * (1.0 - tail), intensity * tail
    for i in range(energy.size):
        x = energy[i] - centre
        # The width grows smoothly from the gain to the loss side: w(x) = 2 fwhm / (1 + exp(-asymmetry x)).
        s = 1.0 / (1.0 + exp(-asymmetry * x))
        w = max(2.0 * fwhm * s, 1e-9 * fwhm)
        over = 1.0 / w
        u = x * over
        gauss = _GAUSS * over * exp(-_LN16 * u * u)
        fall = 1.0 / (1.0 + 4.0 * u * u)
        lorentz = 2.0 / math.pi * over * fall
        core = (1.0 - fraction) * gauss + fraction * lorentz
        d_dx = -((1.0 - fraction) * 2.0 * _LN16 * gauss + fraction * 8.0 * lorentz * fall) * u * over
        # A density of width w: d/dw = -(density + x d/dx density) / w.
        by_width = -core_share * (core + x * d_dx)
        dw_dx = (1.0 - s) * asymmetry
        # sech(x / length) / (pi length): an exponential on both sides, smooth in the middle
        decay = exp(-abs(x) * rate)
        inverse = 1.0 / (1.0 + decay * decay)
        wing = 2.0 * decay * inverse * height
        wing_slope = (1.0 - decay * decay) * inverse * rate * wing
        shape = (1.0 - tail) * core + tail * wing
        values[i] = intensity * shape
        gradients[0, i] = shape
        gradients[1, i] = -(core_share * d_dx + by_width * dw_dx) + math.copysign(wing_share * wing_slope, x)
        gradients[2, i] = by_width / fwhm
        gradients[3, i] = by_width * (1.0 - s) * x
        gradients[4, i] = core_share * (lorentz - gauss)
        gradients[5, i] = intensity * (wing - core)
        gradients[6, i] = -wing_share * (wing - abs(x) * wing_slope) * rate


ZERO_LOSS_PEAK = LineShape(
    name="ZeroLossPeak",
    parameters=(
        Parameter("intensity", 1.0, "counts", minimum=0.0, linear=True, description="Area of the peak."),
        Parameter("centre", 0.0, "eV", description="Where the width is `fwhm`; the peak of a symmetric one."),
        Parameter("fwhm", 0.8, "eV", minimum=1e-3, description="Full width at half maximum at the centre."),
        Parameter("asymmetry", 0.0, "1/eV", description="Growth rate of the width; positive: wider on the loss side."),
        Parameter("lorentz_fraction", 0.1, "", minimum=0.0, maximum=1.0, description="Lorentzian share of the core."),
        Parameter("tail_fraction", 0.02, "", minimum=0.0, maximum=0.9, description="Share of the detector's tails."),
        Parameter("tail_length", 5.0, "eV", minimum=1.0, maximum=15.0, description="Decay length of the tails."),
    ),
    kernel=_zero_loss,
    role=Role.SOURCE,
)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _drude(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    intensity, position, fwhm = parameters
    for i in range(energy.size):
        e = energy[i]
        if e <= 0.0:
            values[i] = 0.0
            gradients[0, i] = gradients[1, i] = gradients[2, i] = 0.0
            continue
        difference = e * e - position * position
        denominator = difference * difference + e * e * fwhm * fwhm
        shape = 2.0 / math.pi * e * fwhm * position / denominator
        values[i] = intensity * shape
        gradients[0, i] = shape
        gradients[1, i] = intensity * shape * (1.0 / position + 4.0 * position * difference / denominator)
        gradients[2, i] = intensity * shape * (1.0 / fwhm - 2.0 * e * e * fwhm / denominator)


def _drude_parameters(
    position: str, energy: float, fwhm: float, *, intensity: float | None, energies: tuple[float, float]
) -> tuple[Parameter, ...]:
    low, high = energies
    return (
        Parameter("intensity", 0.3, "", intensity, linear=True, description="Contribution to t/lambda, narrow limit."),
        Parameter(position, energy, "eV", low, high, description="Pole of the undamped loss function."),
        Parameter("fwhm", fwhm, "eV", 0.04 * low, 4.0 * high, description="Damping."),
    )


VOLUME_PLASMON = LineShape(
    "VolumePlasmon",
    _drude_parameters("plasmon_energy", 25.0, 10.0, intensity=0.0, energies=(1.0, 100.0)),
    _drude,
    Role.SCATTERING,
)
"""Drude loss function, E Gamma Ep^2 / ((E^2 - Ep^2)^2 + (E Gamma)^2), times 2 / (pi Ep).

Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 3.43.
"""

CARBON_PI_BAND = LineShape(
    "CarbonPiBand", _drude_parameters("centre", 6.0, 4.0, intensity=None, energies=(4.5, 9.0)), _drude, Role.SCATTERING
)
"""The pi plasmon of sp2 carbon, as the loss function of one damped oscillator; unbounded, lest its mean be biased."""


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _gaussian(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    intensity, centre, fwhm = parameters
    for i in range(energy.size):
        u = (energy[i] - centre) / fwhm
        shape = _GAUSS / fwhm * math.exp(-_LN16 * u * u)
        values[i] = intensity * shape
        gradients[0, i] = shape
        gradients[1, i] = intensity * shape * 2.0 * _LN16 * u / fwhm
        gradients[2, i] = intensity * shape * (2.0 * _LN16 * u * u - 1.0) / fwhm


VALENCE_BAND = LineShape(
    name="FePO4ValenceBand",
    parameters=(
        Parameter("intensity", 0.01, "", linear=True, description="Area: contribution to t/lambda."),
        Parameter("centre", 5.2, "eV", minimum=4.0, maximum=7.0, description="Energy of the maximum."),
        Parameter("fwhm", 2.0, "eV", minimum=0.5, maximum=4.0, description="Full width at half maximum."),
    ),
    kernel=_gaussian,
    role=Role.SCATTERING,
)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _constant(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    for i in range(energy.size):
        values[i] = parameters[0]
        gradients[0, i] = 1.0


DARK_LEVEL = LineShape(
    name="DarkLevel",
    parameters=(Parameter("level", 0.0, "counts/eV", linear=True, description="What is left after dark subtraction."),),
    kernel=_constant,
    role=Role.ADDITIVE,
)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _table(x: float, n: int, constants: FloatArray, value_and_slope: FloatArray) -> None:  # pragma: no cover - compiled
    """Cubic Hermite table: constants = [n, area, x (n), value (n), slope (n)]; an exponential below, a power above."""
    if x <= constants[2]:
        y0 = constants[2 + n]
        rate = constants[2 + 2 * n] / y0 if y0 > 0.0 else 0.0
        value_and_slope[0] = y0 * math.exp(rate * (x - constants[2]))
        value_and_slope[1] = rate * value_and_slope[0]
        return
    if x >= constants[1 + n]:
        x1, y1 = constants[1 + n], constants[1 + 2 * n]
        exponent = constants[1 + 3 * n] * x1 / y1 if y1 > 0.0 else 0.0
        value_and_slope[0] = y1 * (x / x1) ** exponent
        value_and_slope[1] = exponent * value_and_slope[0] / x
        return
    low, high = 0, n - 1
    while high - low > 1:
        middle = (low + high) // 2
        if constants[2 + middle] <= x:
            low = middle
        else:
            high = middle
    h = constants[3 + low] - constants[2 + low]
    t = (x - constants[2 + low]) / h
    y0, y1 = constants[2 + n + low], constants[3 + n + low]
    m0, m1 = h * constants[2 + 2 * n + low], h * constants[3 + 2 * n + low]
    c2 = 3.0 * (y1 - y0) - 2.0 * m0 - m1
    c3 = m0 + m1 - 2.0 * (y1 - y0)
    value_and_slope[0] = y0 + t * (m0 + t * (c2 + t * c3))
    value_and_slope[1] = (m0 + t * (2.0 * c2 + 3.0 * t * c3)) / h


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _edge(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    density, onset, width, ratio, peak_energy, peak_fwhm = parameters
    n = int(constants[0])
    area = constants[1]
    pair = np.empty(2)
    sharpness = math.sqrt(_LN16) / width  # the derivative of the step is a Gaussian of this FWHM
    for i in range(energy.size):
        x = energy[i] - onset
        z = x * sharpness
        u = (energy[i] - peak_energy) / peak_fwhm
        peak = area * _GAUSS / peak_fwhm * math.exp(-_LN16 * u * u)
        if z > -8.0:
            step = 0.5 * math.erfc(-z)
            dstep = math.exp(-z * z) / math.sqrt(math.pi)  # d step / d z
            _table(x, n, constants, pair)
            smooth = pair[0] * step
            gradients[1, i] = -density * (pair[1] * step + pair[0] * dstep * sharpness)
            gradients[2, i] = -density * pair[0] * dstep * z / width
        else:
            smooth = 0.0
            gradients[1, i] = 0.0
            gradients[2, i] = 0.0
        values[i] = density * (smooth + ratio * peak)
        gradients[0, i] = smooth + ratio * peak
        gradients[3, i] = density * peak
        gradients[4, i] = density * ratio * peak * 2.0 * _LN16 * u / peak_fwhm
        gradients[5, i] = density * ratio * peak * (2.0 * _LN16 * u * u - 1.0) / peak_fwhm


def ionisation_edge(
    name: str, *, onset_energy: float, onset_width: float, peak_ratio: float, peak_energy: float, peak_fwhm: float
) -> LineShape:
    """Ionisation edge: a tabulated cross-section behind a smooth step, and one fine-structure maximum.

    Parameters
    ----------
    name
        Name of the line shape.
    onset_energy
        Energy of the step in eV.
    onset_width
        Full width at half maximum of the derivative of the step, in eV.
    peak_ratio
        Area of the fine-structure maximum over the integral of the table up to 20 eV.
    peak_energy, peak_fwhm
        Position and full width of the fine-structure maximum in eV.

    Returns
    -------
    line shape
        Its kernel needs the constants of :func:`.edge_terms.edge_constants`.
    """
    return LineShape(
        name=name,
        parameters=(
            Parameter("areal_density", 100.0, "nm^-2", linear=True, description="Atoms per area of the specimen."),
            Parameter("onset_energy", onset_energy, "eV", onset_energy - 5, onset_energy + 5, description="The step."),
            Parameter("onset_width", onset_width, "eV", 0.05, 10.0, description="FWHM of the step's derivative."),
            Parameter("peak_ratio", peak_ratio, "", 0.0, 3.0, description="Fine-structure area over edge area."),
            Parameter("peak_energy", peak_energy, "eV", peak_energy - 6, peak_energy + 6, description="Its maximum."),
            Parameter("peak_fwhm", peak_fwhm, "eV", 0.2, 12.0, description="Its full width at half maximum."),
        ),
        kernel=_edge,
        role=Role.SCATTERING,
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _spline(
    energy: FloatArray, parameters: FloatArray, constants: FloatArray, values: FloatArray, gradients: FloatArray
) -> None:  # pragma: no cover - compiled
    """Cubic B-splines in ln E over E^2; constants = knots in eV (simple inner knots, the ends fourfold)."""
    count = parameters.size
    basis = np.empty(4)
    for i in range(energy.size):
        values[i] = 0.0
        for k in range(count):
            gradients[k, i] = 0.0
        e = energy[i]
        if e <= constants[0] or e >= constants[constants.size - 1]:
            continue
        u = math.log(e)
        span = 3
        while span < count + 2 and e >= constants[span + 1]:
            span += 1
        basis[0] = 1.0  # Cox and de Boor, de Boor (1978)
        for degree in range(1, 4):
            saved = 0.0
            for r in range(degree):
                right = math.log(constants[span + r + 1])
                left = math.log(constants[span + 1 - degree + r])
                term = basis[r] / (right - left)
                basis[r] = saved + (right - u) * term
                saved = (u - left) * term
            basis[degree] = saved
        scale = 400.0 / (e * e)  # coefficients are densities, in 1/eV, near 20 eV
        for r in range(4):
            k = span - 6 + r  # the first three, which do not vanish smoothly, are left out
            if k >= 0:
                gradients[k, i] = basis[r] * scale
                values[i] += parameters[k] * basis[r] * scale


def spline_constants(breaks: FloatArray) -> FloatArray:
    """Knots of :func:`valence_continuum` from its breakpoints in eV, increasing and above 0, shape (B,)."""
    breaks = np.asarray(breaks, dtype=np.float64)
    if breaks.size < 2 or breaks[0] <= 0 or np.any(np.diff(breaks) <= 0):
        raise AssbValueError("The breakpoints of the valence continuum must increase and lie above 0 eV.")
    return np.concatenate([np.repeat(breaks[0], 3), breaks, np.repeat(breaks[-1], 3)])


def valence_continuum(breaks: FloatArray) -> LineShape:
    """Free-form single scattering by the valence electrons: cubic B-splines in ln E, over E^2.

    It vanishes, with its first and second derivatives, at the first breakpoint. All parameters are linear, so that what
    is fitted is a set of weighted averages of the true single-scattering distribution, whatever its shape.

    Parameters
    ----------
    breaks
        Breakpoints in eV, shape (B,); the first is where scattering begins, the last lies behind the fitted range.

    Returns
    -------
    line shape
        With B - 1 parameters ``c0``, ``c1``, ...; its kernel needs the constants of :func:`spline_constants`.
    """
    count = len(breaks) - 1
    return LineShape(
        name="ValenceContinuum",
        parameters=tuple(Parameter(f"c{k}", 0.0, "1/eV", linear=True) for k in range(count)),
        kernel=_spline,
        role=Role.SCATTERING,
    )
