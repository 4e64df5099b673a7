"""Pixels fitted as columns of the phases of a standard, and the lithiated fractions that follow from the fit."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import fft, stats

from hyperspy_assb.eels.delithiation.lithiated_fraction import Estimate
from hyperspy_assb.eels.delithiation.mixture import MixtureModel, extrapolation_error
from hyperspy_assb.eels.delithiation.standard import DETECTED, HOST_UNCERTAINTY, TOLERANCE, VACUUM, Standard
from hyperspy_assb.eels.delithiation.unexplained import Residuals
from hyperspy_assb.eels.delithiation.unnamed_phases import Guise
from hyperspy_assb.eels.lineshapes import ZERO_LOSS_PEAK
from hyperspy_assb.eels.scattering.joint_model import Features
from hyperspy_assb.eels.zero_loss.peak_search import FWHM_OF_SIGMA, SEARCH_RANGE, search
from hyperspy_assb.fitting.solver.spectra_fit import Detector, FitProblem, SolverOptions, fit_spectra
from hyperspy_assb.fitting.spectra import compiled_sums as compiled
from hyperspy_assb.fitting.spectra.line_shape import FloatArray, Term

MOST_DILUTION = 0.5
"""Largest correction for the noise of references, as a share of the information that a pixel has."""
MOST_STEPS = 40
"""Of a fit."""
EXPLAINED, PER_MISFIT = 1.3, 5.0
"""Reduced deviance up to which the phases explain a spectrum: so much, and so many times the misfit of pure pixels of
as many electrons."""
THIN = 0.1
"""t/lambda below which a spectrum whose fit does not end is taken for vacuum, where no amount is determined."""
CONDITIONS = ("t/λ", "the width of the zero-loss peak (eV)", "the number of electrons")
"""What pixels and references may differ in beside their phases; the dark level is fitted in every pixel."""
LIKE = np.array([1.05, 1.05, 3.0])
"""Times the largest, or part of the smallest, value among the pure pixels up to which a pixel is like them: noise, and
what is fitted or counted in every pixel alike."""
_STEP_BLOCK = 16
_STRENGTH = 0.3
"""Share of the zero loss that is left at the highest frequency that is looked at."""
_FREQUENCIES = 48


@dataclass(frozen=True)
class Pixels:
    """Some pixels, fitted as columns of the phases."""

    standard: Standard
    model: MixtureModel
    counts: NDArray[Any]
    detector: Detector
    workers: int
    values: FloatArray
    amount_covariance: FloatArray
    vacuum: NDArray[np.bool_]
    reduced_deviance: FloatArray
    dof: FloatArray
    electrons: FloatArray
    dilution: FloatArray
    """What noise of the references adds to the information of each pixel on all phases, as a share of it, and on the
    end members, shape (S, 2)."""
    reference_noise: FloatArray
    """Noise of the pure pixels over that of each pixel, as far as it moves the estimate, shape (S,)."""

    @classmethod
    def of(
        cls,
        standard: Standard,
        counts: NDArray[Any],
        energy: FloatArray,
        detector: Detector,
        workers: int,
        mask: NDArray[np.bool_] | None = None,
    ) -> Pixels:
        """Fit spectra, shape (S, E), without the channels of a mask, shape (E,), that is True where left out."""
        size = standard.fitted_channels
        model, start, bad = _start_mixture(standard, counts[:, :size], energy[:size], detector)
        thickness = np.abs(start[:, model.amounts].sum(axis=1))
        empty = ~bad & (thickness < VACUUM)  # a fit would look for amounts that are not determined
        result = fit_spectra(
            counts[:, :size],
            FitProblem(
                model=model,
                start=start,
                free=model.free(),
                lower=model.lower,
                mask=np.array(False) if mask is None else mask[:size],
                rows=~(bad | empty),
            ),
            detector=detector,
            options=SolverOptions(tolerance=TOLERANCE, max_iterations=MOST_STEPS, workers=workers),
        )
        assert result.covariance is not None
        first = int(model.free()[: model.amounts.start].sum())
        electrons = np.where(bad, np.nan, np.maximum(counts[:, :size].sum(axis=1), 0.0)) / detector.gain
        values, covariance, dilution = _undilute(
            standard, model, result.values, result.covariance[:, first:, first:], electrons
        )
        return cls(
            standard=standard,
            model=model,
            counts=counts[:, :size],
            detector=detector,
            workers=workers,
            values=values,
            amount_covariance=covariance * standard.noise_scale,
            vacuum=empty | (result.failed & (thickness < THIN)),
            reduced_deviance=result.deviance / result.dof,
            dof=np.asarray(result.dof, dtype=float),
            electrons=electrons,
            dilution=dilution,
            reference_noise=reference_noise(standard, values[:, model.amounts], electrons),
        )

    @property
    def amounts(self) -> FloatArray:
        return self.values[:, self.model.amounts]

    def misfit(self, residuals: Residuals) -> NDArray[np.bool_]:
        """Where no linear parameters make up the spectrum as well as the phases do that of pure pixels, shape (S,).

        Those of the phases are judged by the residuals themselves.
        """
        with np.errstate(invalid="ignore"):
            left = self.reduced_deviance - residuals.deviance / self.dof
            return np.asarray(left > EXPLAINED + PER_MISFIT * self.standard.misfit * self.electrons)

    @property
    def conditions(self) -> FloatArray:
        """Each of :data:`CONDITIONS`, shape (S, C)."""
        return np.stack([self.amounts.sum(axis=1), self.values[:, 2], self.electrons], axis=-1)

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which conditions lie outside the range of the pure pixels, shape (S, C)."""
        low, high = self.standard.conditions
        with np.errstate(invalid="ignore"):
            return (self.conditions < low / LIKE) | (self.conditions > high * LIKE)

    @property
    def thinner(self) -> NDArray[np.bool_]:
        """Which pixels are thinner than all pure pixels, shape (S,)."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.conditions[:, 0] < self.standard.conditions[0, 0] / LIKE[0])

    @property
    def extrapolation(self) -> FloatArray:
        """Covariance of the linear parameters from what is not known of columns of such a thickness, shape (S, K, K).

        Zero between the thinnest and the thickest pure pixel.
        """
        spectra = self.standard.spectra
        far = np.nan_to_num(spectra.beyond(self.amounts.sum(axis=1))) ** 2
        return far[:, np.newaxis, np.newaxis] * extrapolation_error(spectra, self.standard.columns, self.model.scale)

    def expected_hosts(self, guise: Guise | None = None) -> tuple[FloatArray, FloatArray]:
        """Formula units of the host as they would be found without the error of the fraction, and what this would be.

        Noise that makes too much of one end member makes the host larger and the error of the fraction smaller. What is
        judged by the estimate alone is selected by its answer.

        Parameters
        ----------
        guise
            What something else passes for; None: nothing does.

        Returns
        -------
        hosts, error
            Least squares with the fraction given, as it is expected of what is found and of 0 to 1, shape (S,), and the
            standard error of a fraction of one half from counting, shape (S,); infinite where there is no host.
        """
        each = self.standard.calibration.hosts
        units = self.without(guise)[:, :2] * each
        covariance = self.amount_covariance[:, :2, :2] * np.outer(each, each)
        off = np.array([0.5, -0.5])
        with np.errstate(divide="ignore", invalid="ignore"):
            total, variance = units.sum(axis=1), np.einsum("r,srq,q->s", off, covariance, off)
            away, error = units @ off / total, np.sqrt(variance) / total  # from one half
            low, high = (-0.5 - away) / error, (0.5 - away) / error
            mass = np.maximum(stats.norm.cdf(high) - stats.norm.cdf(low), 1e-12)
            shift = error * (stats.norm.pdf(low) - stats.norm.pdf(high)) / mass
            hosts = total + np.einsum("srq,q->s", covariance, off) / variance * total * shift
            hosts = np.where(total > 0.0, hosts, total)
            return hosts, np.where(hosts > 0.0, np.sqrt(variance) / hosts, np.inf)

    def without(self, guise: Guise | None) -> FloatArray:
        """Amounts without what something else passes for, shape (S, R)."""
        return self.amounts if guise is None else self.amounts - guise.amounts

    def holds_electrode(self, share: float, guise: Guise | None = None) -> NDArray[np.bool_]:
        """Where the end members make up a share of the column, and the host is three standard errors above nothing."""
        amounts, each = self.without(guise), self.standard.calibration.hosts
        thickness = self.amounts.sum(axis=1)
        error = np.sqrt(np.einsum("r,srq,q->s", each, self.amount_covariance[:, :2, :2], each))
        with np.errstate(invalid="ignore"):
            enough = (thickness > VACUUM) & (amounts[:, :2].sum(axis=1) >= share * thickness)
            return enough & (self.expected_hosts(guise)[0] >= DETECTED * error)

    def from_amounts(self, guise: Guise | None = None) -> Estimate:
        """The lithiated fraction from the amounts of both end members, without what something else passes for."""
        standard, amounts = self.standard, self.without(guise)
        units = amounts[:, :2] * standard.calibration.hosts
        with np.errstate(divide="ignore", invalid="ignore"):
            total = units.sum(axis=1)
            fraction = units[:, 0] / total

            nodes = np.linspace(*standard.spectra.thickness, standard.scatter.shape[1])
            expected = [np.interp(self.amounts.sum(axis=1), nodes, row) for row in standard.scatter]

            def by_amount(lithiated: FloatArray) -> FloatArray:
                slope = np.stack([1.0 - lithiated, -lithiated], axis=-1) * standard.calibration.hosts
                return np.asarray(slope / total[:, np.newaxis])

            def variance(lithiated: FloatArray) -> FloatArray:
                slope = by_amount(lithiated)
                return np.asarray(np.einsum("sr,srq,sq->s", slope, self.amount_covariance[:, :2, :2], slope))

            def systematic(lithiated: FloatArray, counting: FloatArray) -> FloatArray:
                inside = np.clip(lithiated, 0.0, 1.0)
                ratio = HOST_UNCERTAINTY * inside * (1.0 - inside)
                scatter = inside * expected[0] + (1.0 - inside) * expected[1]
                return counting * self.reference_noise + ratio**2 + scatter

            one = np.ones_like(fraction)
            null = variance(one)
            null += systematic(one, null)

            def at(lithiated: FloatArray) -> Estimate:
                counting, direction = variance(lithiated), None
                if guise is not None:
                    direction = np.einsum("sr,srk->sk", by_amount(lithiated), guise.to_amounts[:, :2])
                return Estimate(fraction, counting, systematic(lithiated, counting), null, direction, total)

            # A function that knew itself would keep the spectra of its pixels until Python looks for circles.
            return replace(at(fraction), at=at)

    def features(self, where: NDArray[np.bool_]) -> tuple[Features, Residuals]:
        """Linear parameters of the joint fit in some pixels, by one step from the fit as a column of the phases.

        Beside them what they have beyond a column of the phases; NaN elsewhere.
        """
        standard, count = self.standard, len(self.standard.names)
        model = MixtureModel(
            self.model.source,
            self.model.energy,
            standard.spectra,
            dark_level=self.model.dark_level,
            extra=standard.columns,
        )
        free = np.concatenate([model.free([])[: model.amounts.stop], np.ones(count, dtype=bool)])
        parameters = np.hstack([self.values, np.zeros((len(self.values), count))])
        change = np.full((len(parameters), count), np.nan)
        covariance = np.full((len(parameters), count, count), np.nan)
        deviance = np.zeros(len(parameters))
        fitted = np.flatnonzero(where & np.isfinite(self.values).all(axis=1))
        scale, shift = 1.0 / self.detector.gain, (self.detector.read_noise / self.detector.gain) ** 2

        def step(rows: NDArray[np.int_]) -> None:
            expectation, jacobian = model.evaluate(parameters[rows], free)
            y = self.counts[rows] * scale + shift
            objective, score = np.empty(rows.size), np.empty((rows.size, jacobian.shape[1]))
            information = np.empty((rows.size, score.shape[1], score.shape[1]))
            own = np.arange(rows.size)
            compiled.accumulate(
                expectation * scale + shift, jacobian * scale, own, y, y, True, objective, score, information
            )
            size = np.sqrt(np.maximum(np.einsum("sff->sf", information), 1e-300))
            outer = size[:, :, np.newaxis] * size[:, np.newaxis]
            inverse = np.linalg.inv(information / outer + 1e-12 * np.eye(score.shape[1])) / outer
            whole = np.einsum("sfg,sg->sf", inverse, score)
            change[rows], deviance[rows] = whole[:, -count:], np.sum(whole * score, axis=1)
            covariance[rows] = inverse[:, -count:, -count:] * standard.noise_scale

        with ThreadPoolExecutor(max_workers=self.workers) as pool:
            blocks = [fitted[i : i + _STEP_BLOCK] for i in range(0, fitted.size, _STEP_BLOCK)]
            list(pool.map(step, blocks))
        thickness = self.amounts.sum(axis=1)
        known = np.einsum("sr,srk->sk", self.amounts, standard.calibration.per_thickness(thickness))
        noise = covariance * (1.0 + self.reference_noise)[:, np.newaxis, np.newaxis]
        residuals = Residuals(change, noise + self.extrapolation, thickness, deviance)
        return Features(standard.names, known + change, covariance, thickness), residuals


def _undilute(
    standard: Standard, model: MixtureModel, values: FloatArray, covariance: FloatArray, electrons: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Amounts and their covariance without the bias from noise in the spectra of the phases, and that bias.

    A regression on noisy columns is diluted: their noise adds to the diagonal of the normal equations, and is taken off
    again (Fuller, Measurement Error Models (1987), section 2.2).
    """
    amounts = values[:, model.amounts]
    factors = standard.spectra.factors(amounts.sum(axis=1))[0]
    excess = np.einsum("as,arbq,bs->srq", factors, standard.noise, factors, optimize=True)
    excess *= electrons[:, np.newaxis, np.newaxis]
    product = covariance @ excess
    # Beyond this, the references say less than what they are asked for: the correction would be noise itself.
    share = np.einsum("srr->s", product)
    electrode = np.einsum("srr->s", product[:, :2, :2])
    product *= np.where(share > MOST_DILUTION, MOST_DILUTION / share, 1.0)[:, np.newaxis, np.newaxis]
    known = np.isfinite(product).all(axis=(1, 2))
    inverse = np.full_like(product, np.nan)
    inverse[known] = np.linalg.inv(np.eye(product.shape[1]) - product[known])
    out = values.copy()
    out[:, model.amounts] = np.einsum("srq,sq->sr", inverse, amounts)
    return out, inverse @ covariance @ inverse.transpose(0, 2, 1), np.stack([share, electrode], axis=-1)


def reference_noise(standard: Standard, amounts: FloatArray, electrons: FloatArray) -> FloatArray:
    """Noise of the pure pixels over that of each pixel, as far as it moves the estimate, shape (S,)."""
    factors = standard.spectra.factors(amounts.sum(axis=1))[0]
    weights = factors.T[:, :, np.newaxis] * amounts[:, np.newaxis]
    with np.errstate(invalid="ignore"):
        return electrons * np.einsum("sar,arbq,sbq->s", weights, standard.covariance, weights, optimize=True)


def _start_mixture(
    standard: Standard, counts: NDArray[Any], energy: FloatArray, detector: Detector
) -> tuple[MixtureModel, FloatArray, NDArray[np.bool_]]:
    """The model of some spectra, the parameters to start from, and the spectra to leave out.

    Parameters
    ----------
    standard
        What is known of the phases.
    counts
        As recorded, shape (S, E).
    energy
        Centres of the channels in eV, shape (E,).
    detector
        Gain and read noise.

    Returns
    -------
    model, start, bad
        Starting values, shape (S, P); spectra that are not finite, hold nothing or have no zero loss, shape (S,).
    """
    counts = np.asarray(counts, dtype=float)
    bad = ~np.isfinite(counts).all(axis=1) | ~np.any(counts, axis=1)
    counts = np.where(bad[:, np.newaxis], 0.0, counts)
    first, last = np.searchsorted(energy, SEARCH_RANGE)
    peak, width = search(counts, int(first), int(last), detector.gain, detector.read_noise**2)
    bad |= peak < 0
    centre = energy[np.maximum(peak, 0)]
    fwhm = float(standard.zero_loss[2] if bad.all() else standard.dispersion * np.median(width[~bad]))
    before = energy < (0.0 if bad.all() else float(np.median(centre[~bad]))) - 10.0 * fwhm
    model = MixtureModel(Term(ZERO_LOSS_PEAK), energy, standard.spectra, dark_level=int(before.sum()) >= 8)
    start = np.zeros((len(counts), model.n_parameters))
    start[:, : standard.zero_loss.size] = standard.zero_loss
    if bad.all():
        return model, start, bad
    level = float(np.median(counts[~bad][:, before])) if model.dark_level else 0.0
    near = np.abs(energy - centre[:, np.newaxis]) < 1.5 * fwhm
    intensity = np.sum(np.where(near, counts - level, 0.0), axis=1)
    total = np.sum(counts - level, axis=1)
    bad |= (intensity <= 0.0) | (total <= 0.0)
    intensity, total = np.where(bad, 1.0, intensity), np.where(bad, 1.0, total)
    thickness = np.clip(np.log(total / intensity), 0.02, 3.0)
    start[:, 0], start[:, 1], start[:, 2] = intensity, centre, fwhm
    if model.dark_level:
        start[:, model.source.size] = level
    start[:, model.amounts] = thickness[:, np.newaxis] / len(standard.spectra.phases)
    good = np.flatnonzero(~bad)
    _solve_logarithm(model, start, counts - level, good, thickness)
    return model, start, bad


def _solve_logarithm(
    model: MixtureModel, start: FloatArray, counts: FloatArray, rows: NDArray[np.int_], thickness: FloatArray
) -> None:
    """Improve starting values: the logarithm of a spectrum over its zero loss is linear in all that is sought.

    Only low frequencies are looked at, where there is more signal than noise (Johnson and Spence, J. Phys. D 7, 771
    (1974)). The unknowns are the logarithm of the intensity, place and variance of the zero loss, and the amounts.
    """
    spectra, scale = model.spectra, model.scale
    own = model.source.size
    typical = np.median(start[rows, :own], axis=0)
    typical[0] = 1.0
    peak = fft.rfft(
        model.source.evaluate(model.energy, typical, np.empty((own, model.energy.size))) * scale, spectra.length
    )
    last = int(np.argmax(np.abs(peak) < _STRENGTH * np.abs(peak[0]))) or peak.size
    used = np.unique(np.linspace(0, last - 1, min(last, _FREQUENCIES)).astype(int))
    frequency = 2.0 * np.pi * fft.rfftfreq(spectra.length, scale)[used]
    recorded = fft.rfft(counts[rows].astype(np.float32), spectra.length)[:, used].astype(complex)
    shift = start[rows, 1] - typical[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = np.log(recorded / peak[used] * np.exp(1j * frequency * shift[:, np.newaxis]))
        weight = np.abs(recorded) / np.sqrt(np.abs(recorded[:, :1]))
    factors = spectra.factors(thickness[rows])[0]
    design = np.zeros((rows.size, 3 + len(spectra.phases), used.size), dtype=complex)
    design[:, 0], design[:, 1], design[:, 2] = 1.0, -1j * frequency, -0.5 * frequency**2
    design[:, 3:] = np.tensordot(factors, spectra.parts[:, :, used], axes=(0, 0))
    design *= weight[:, np.newaxis]
    # Real and imaginary parts are equations of their own.
    design, logarithm = design.view(float), np.ascontiguousarray(logarithm * weight).view(float)
    matrix = design @ design.transpose(0, 2, 1)
    target = np.einsum("sal,sl->sa", design, logarithm)
    size = np.sqrt(np.maximum(np.einsum("saa->sa", matrix), 1e-300))
    matrix = matrix / size[:, :, np.newaxis] / size[:, np.newaxis] + 1e-6 * np.eye(size.shape[1])
    solution = np.linalg.solve(matrix, (target / size)[:, :, np.newaxis])[:, :, 0] / size
    good = np.isfinite(solution).all(axis=1) & (np.abs(solution[:, 1]) < 2.0 * typical[2])
    good &= np.abs(solution[:, 3:].sum(axis=1) - thickness[rows]) < 0.5
    found, chosen = solution[good], rows[good]
    start[chosen, 0] = np.exp(found[:, 0])
    start[chosen, 1] += found[:, 1]
    usual = (typical[2] / FWHM_OF_SIGMA) ** 2
    start[chosen, 2] = FWHM_OF_SIGMA * np.sqrt(np.clip(usual + found[:, 2], 0.5 * usual, 2.0 * usual))
    start[np.ix_(chosen, np.arange(model.n_parameters)[model.amounts])] = found[:, 3:]
