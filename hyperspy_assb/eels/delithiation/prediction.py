"""How precisely the lithiated fraction will be known from a spectrum of a given dose, before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from hyperspy_assb.eels.delithiation.lithiated_fraction import Estimate
from hyperspy_assb.eels.delithiation.mixture import MixtureModel
from hyperspy_assb.eels.delithiation.pixels import Pixels, reference_noise
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.fitting.spectra.line_shape import Term
from hyperspy_assb.fitting.statistics.precision import DoseInformation


def predict_estimate(
    standard: Standard,
    dose: ArrayLike,
    *,
    fraction: float = 1.0,
    t_over_lambda: float = 0.5,
    others: Mapping[str, float] | None = None,
    detector: Detector | None = None,
) -> Estimate:
    """The estimate by mixture that spectra of given doses allow: the Cramér-Rao bound, and what pure pixels scatter.

    Parameters
    ----------
    standard
        What is known of the phases.
    dose
        Electrons in the fitted channels of a spectrum, shape (D,).
    fraction
        Lithiated fraction of the electrode.
    t_over_lambda
        Thickness of the column.
    others
        Shares of t/lambda of other phases of the standard; the rest is the electrode.
    detector
        Gain and read noise.

    Returns
    -------
    estimate
        Its ``fraction`` is the given one, shape (D,).

    Raises
    ------
    ValueError
        If a phase is not known, the shares leave no room for the electrode, or a dose or t/lambda is not above 0.
    """
    doses, detector = np.atleast_1d(np.asarray(dose, dtype=float)), detector or Detector()
    if not (np.isfinite(doses) & (doses > 0.0)).all():
        raise AssbValueError(f"dose must be electrons in a spectrum, above 0, not {doses}.")
    if not 0.0 < t_over_lambda < np.inf:
        raise AssbValueError(f"t_over_lambda must be above 0, not {t_over_lambda:g}.")
    phases, shares = standard.spectra.phases, dict(others or {})
    unknown = set(shares) - set(phases[2:])
    if unknown:
        raise AssbValueError(
            f"The references hold no {', '.join(sorted(unknown))}; others are {', '.join(phases[2:])}."
        )
    rest = 1.0 - sum(shares.values())
    if not 0.0 < rest <= 1.0:
        raise AssbValueError(f"others add up to {1.0 - rest:g}: shares of t/lambda must leave room for the electrode.")
    hosts = standard.calibration.hosts
    amounts = np.array([fraction / hosts[0], (1.0 - fraction) / hosts[1], *(0.0 for _ in phases[2:])])
    amounts *= rest / amounts.sum()
    amounts[2:] = [shares.get(phase, 0.0) for phase in phases[2:]]
    energy = standard.offset + standard.dispersion * np.arange(standard.fitted_channels, dtype=np.float64)
    model = MixtureModel(Term(ZERO_LOSS_PEAK), energy, standard.spectra)
    parameters = np.zeros((1, model.n_parameters))
    parameters[0, : model.source.size] = standard.zero_loss
    parameters[0, :2] = 1.0, 0.0
    parameters[0, model.amounts] = t_over_lambda * amounts
    expectation, jacobian = model.evaluate(parameters, model.free())
    known = DoseInformation.of(expectation[0], jacobian[0], read_noise=detector.read_noise / detector.gain)
    first = int(model.free()[: model.amounts.start].sum())
    covariance = np.array([known.covariance(float(d)) for d in doses])
    columns = np.repeat(parameters, doses.size, axis=0)
    pixels = Pixels(
        standard=standard,
        model=model,
        counts=np.zeros((doses.size, 0)),
        detector=detector,
        workers=1,
        values=columns,
        amount_covariance=covariance[:, first:, first:] * standard.noise_scale,
        vacuum=np.zeros(doses.size, dtype=bool),
        reduced_deviance=np.ones(doses.size),
        dof=np.full(doses.size, float(energy.size)),
        electrons=doses,
        dilution=np.zeros((doses.size, 2)),
        reference_noise=reference_noise(standard, columns[:, model.amounts], doses),
    )
    return pixels.from_amounts()


def dose_to_find(
    standard: Standard,
    share: float,
    *,
    power: float = 0.9,
    alpha: float = 0.05,
    t_over_lambda: float = 0.5,
    others: Mapping[str, float] | None = None,
    detector: Detector | None = None,
) -> float:
    """Dose at which a share of the delithiated end member among the electrode is found.

    Parameters
    ----------
    standard
        What is known of the phases.
    share
        Of the delithiated end member, above 0.
    power
        Probability with which it is found.
    alpha
        Probability that a pixel without the end member is called a detection.
    t_over_lambda, others, detector
        As in :func:`predict_estimate`.

    Returns
    -------
    dose
        Electrons in the fitted channels of a spectrum; infinite where what pure pixels scatter hides that share.

    Notes
    -----
    Currie, Anal. Chem. 40, 586 (1968): the decision limit, and above it the detection limit, with the error that a
    pixel states being that of its own fraction.
    """
    given: dict[str, object] = {"share": share, "power": power, "alpha": alpha}
    for name, value in given.items():
        if not isinstance(value, Real):
            raise AssbTypeError(f"{name} must be a number between 0 and 1, not {value!r}.")
    if not 0.0 < share <= 1.0:
        raise AssbValueError(f"share must lie between 0 and 1, not {share:g}.")
    if not alpha < power < 1.0:
        raise AssbValueError(f"power must lie between {alpha:g}, what chance alone finds, and 1, not {power:g}.")
    factor = stats.norm.isf(alpha) + stats.norm.isf(1.0 - power)

    def excess(logarithm: float) -> float:
        dose = np.exp(logarithm)
        found = predict_estimate(
            standard, dose, fraction=1.0 - share, t_over_lambda=t_over_lambda, others=others, detector=detector
        )
        return float(factor * found.error[0] / share - 1.0)

    low, high = np.log(1e2), np.log(1e12)
    if excess(high) > 0.0:
        return float("inf")
    return float(np.exp(optimize.brentq(excess, low, high, xtol=1e-4)))
