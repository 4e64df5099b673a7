"""Profiles across an interface: how wide it is without the probe, and what lies beyond it."""

from __future__ import annotations

from dataclasses import dataclass

import lmfit
import numpy as np
from scipy import optimize, special

from hyperspy_assb.eds.eds_map import FloatArray
from hyperspy_assb.eds.interfaces.profiles import Profile
from hyperspy_assb.eds.lines.x_ray_lines import FWHM_PER_SIGMA
from hyperspy_assb.errors import AssbValueError

WIDTH_PER_SIGMA = float(2.0 * special.ndtri(0.9))
"""10-90 % width of an error function over its standard deviation."""
_STEP = 4.0
"""Standard errors by which the two sides must differ, for an element to have a width."""


@dataclass(frozen=True)
class Width:
    """A 10-90 % width.

    Parameters
    ----------
    value
        nm; 0 where the interface is not wider than the probe makes it; NaN where there is no step.
    low, high
        68 % interval in nm, by profile likelihood; the lower end is 0 where a sharp interface is not excluded.
    variance, variance_std
        nm^2: variance of the error function without that of the probe; below 0 where noise makes it so.
    position, position_std
        nm.
    p_fit
        Probability of residuals at least as large.
    reason
        Why there is none; empty where there is.
    """

    value: float
    low: float
    high: float
    variance: float
    variance_std: float
    position: float
    position_std: float
    p_fit: float
    reason: str = ""

    @classmethod
    def missing(cls, reason: str) -> Width:
        """Of an element that has none."""
        nothing = float("nan")
        return cls(nothing, nothing, nothing, nothing, nothing, nothing, nothing, nothing, reason)


@dataclass(frozen=True)
class Beyond:
    """What lies beyond the boundary of an element that is rich on one side.

    Parameters
    ----------
    amount
        nm of the rich side's excess that lie beyond it, above what the outer half of the poor side has on average, and
        those that the probe alone puts there taken out.
    std
        Standard error.
    atoms
        The same in atoms per nm of boundary, as it is seen from above.
    recorded, recorded_std
        The amount with what the probe puts there: what two states recorded with one probe are compared by.
    side
        -1 if it is the side of smaller distances that is poor, 1 if the other.
    """

    amount: float
    std: float
    atoms: float
    recorded: float
    recorded_std: float
    side: int


@dataclass(frozen=True, eq=False)
class InterfaceFit:
    """Error functions fitted to a profile.

    Parameters
    ----------
    profile
        What was fitted.
    probe
        Full width at half maximum of the probe in nm, which was taken out.
    common
        Width and position of all elements together.
    widths
        Of each element.
    plateaus
        Amount on the side of small and of large distances, shape (M, 2), of the common fit.
    plateaus_std
        Standard errors.
    beyond
        Of each element with a step.
    """

    profile: Profile
    probe: float
    common: Width
    widths: dict[str, Width]
    plateaus: FloatArray
    plateaus_std: FloatArray
    beyond: dict[str, Beyond]

    def curve(self, distance: FloatArray) -> FloatArray:
        """Fitted amounts at distances in nm, shape (..., M)."""
        sigma = np.sqrt(max(self.common.variance + (self.probe / FWHM_PER_SIGMA) ** 2, 1e-6))
        share = special.ndtr((np.asarray(distance, dtype=float) - self.common.position) / sigma)
        return self.plateaus[:, 0] + share[..., np.newaxis] * (self.plateaus[:, 1] - self.plateaus[:, 0])


class _Steps:
    """Least squares of error functions with one position and variance; plateaus are solved for."""

    def __init__(self, profile: Profile, probe: float) -> None:
        self.profile = profile
        self.probe_variance = (probe / FWHM_PER_SIGMA) ** 2
        self.all = np.concatenate(profile.members)
        self.starts = np.concatenate([[0], np.cumsum([m.size for m in profile.members])[:-1]]).astype(int)
        self.bins, self.m = profile.amount.shape
        self.floor = (0.02 * profile.spacing) ** 2
        self.reach = float(np.ptp(profile.distance))
        self.set_covariance(profile.covariance)

    def set_covariance(self, covariance: FloatArray) -> None:
        """Whiten bins by a covariance, shape (B, M, M)."""
        scale = np.sqrt(np.einsum("bmm->bm", covariance))
        factor = np.linalg.cholesky(covariance / (scale[:, :, np.newaxis] * scale[:, np.newaxis, :]))
        self.white = np.linalg.inv(factor) / scale[:, np.newaxis, :]
        self.data = np.einsum("bij,bj->bi", self.white, self.profile.amount).ravel()

    def share(self, position: float, variance: float) -> FloatArray:
        """Share of the far side in each bin."""
        sigma = np.sqrt(max(variance + self.probe_variance, self.floor))
        return np.add.reduceat(special.ndtr((self.all - position) / sigma), self.starts) / self.profile.pixels

    def design(self, position: float, variance: float) -> FloatArray:
        """Whitened columns of the plateaus, shape (B M, 2 M)."""
        share = self.share(position, variance)
        near = self.white * (1.0 - share)[:, np.newaxis, np.newaxis]
        far = self.white * share[:, np.newaxis, np.newaxis]
        return np.concatenate([near, far], axis=2).reshape(self.bins * self.m, 2 * self.m)

    def solve(self, position: float, variance: float) -> tuple[FloatArray, FloatArray]:
        """Plateaus, shape (2 M,), and residuals."""
        design = self.design(position, variance)
        plateaus = np.linalg.lstsq(design, self.data, rcond=None)[0]
        return plateaus, self.data - design @ plateaus

    def minimise(self, position: float, variance: float, *, vary: bool = True) -> lmfit.minimizer.MinimizerResult:
        """Fit position, and variance unless it is held."""
        parameters = lmfit.Parameters()
        low, high = self.profile.distance[0], self.profile.distance[-1]
        parameters.add(
            "position", np.clip(position, low, high), min=low - 0.1 * self.reach, max=high + 0.1 * self.reach
        )
        parameters.add("variance", variance, vary=vary, min=self.floor - self.probe_variance, max=self.reach**2)
        return lmfit.minimize(
            lambda p: self.solve(p["position"].value, p["variance"].value)[1],
            parameters,
            scale_covar=False,
            ftol=1e-9,
            xtol=1e-9,
        )

    def objective(self, position: float, variance: float) -> float:
        """Sum of squares of whitened residuals."""
        return float(np.sum(self.solve(position, variance)[1] ** 2))

    def best_position(self, variance: float, near: float, span: float) -> tuple[float, float]:
        """Position and objective for a given variance."""
        found = optimize.minimize_scalar(
            lambda x: self.objective(x, variance),
            bounds=(near - span, near + span),
            method="bounded",
            options={"xatol": 1e-4 * self.profile.spacing},
        )
        return float(found.x), float(found.fun)

    def start(self) -> tuple[float, float]:
        """Position and variance of the best of a coarse grid."""
        inner = self.profile.distance[2:-2]
        positions = np.linspace(inner[0], inner[-1], 31)
        variances = (np.array([0.5, 2.0, 6.0]) * self.profile.spacing) ** 2
        grid = [(self.objective(x, v), x, v) for x in positions for v in variances]
        _, position, variance = min(grid)
        return float(position), float(variance)

    def information(self, position: float, variance: float) -> tuple[FloatArray, FloatArray]:
        """Derivatives of the residuals by position and variance, shape (B M, 2), and their covariance.

        Of a boundary sharper than the distance between bins, bins do not show where between them it lies: it is held
        to one spacing.
        """
        slopes = self.slopes(position, variance)
        inverse = slopes.T @ slopes + np.diag([self.profile.spacing**-2, 1e-6 * self.reach**-4])
        covariance = np.asarray(np.linalg.inv(inverse), dtype=np.float64)
        return slopes, covariance

    def slopes(self, position: float, variance: float) -> FloatArray:
        """Derivatives of the whitened residuals by position and variance, plateaus following, shape (B M, 2)."""
        small = 0.01 * self.profile.spacing
        size = 0.02 * max(variance + self.probe_variance, self.floor)
        by_position = self.solve(position + small, variance)[1] - self.solve(position - small, variance)[1]
        by_variance = self.solve(position, variance + size)[1] - self.solve(position, variance - size)[1]
        return np.stack([by_position / (2.0 * small), by_variance / (2.0 * size)], axis=1)


def fit_interface(profile: Profile, *, probe: float) -> InterfaceFit:
    """Fit error functions to the profile of every element, and to all together.

    Parameters
    ----------
    profile
        Elements against distance.
    probe
        Full width at half maximum of the probe in nm, taken as Gaussian; its variance is taken out.

    Returns
    -------
    InterfaceFit
        Widths, positions, and what lies beyond the boundary.

    Raises
    ------
    AssbValueError
        If the probe is below 0, or no element differs between the two sides.

    Notes
    -----
    A thin-film diffusion couple has an error-function profile (J. Crank, The Mathematics of Diffusion, 2nd ed., Oxford
    (1975), eq. 2.14), which a Gaussian probe leaves one with a larger variance: variances add. Noise of a bin is taken
    from the fit, in proportion to what either side contributes: taken from the counts of the bin itself, it would
    follow them and shift every amount. A boundary that is tilted against the beam is wide as well: it looks like
    diffusion."""
    if not (np.isfinite(probe) and probe >= 0.0):
        raise AssbValueError(f"probe must be a full width at half maximum in nm, not below 0; it is {probe}.")
    start, stepping = _find_start(profile, probe)
    if not stepping:
        raise AssbValueError(
            "No element differs between the two sides of the boundary: there is no interface to fit. Check the line, "
            "or add up more pixels."
        )
    steps = _Steps(profile.subset(stepping), probe)
    common = _fit_width(steps, *start)
    smooth = steps.share(common.position, max(common.variance, 0.0))
    everything = _Steps(profile, probe)
    everything.set_covariance(_smooth_covariance(profile, smooth))
    plateaus, _ = everything.solve(common.position, common.variance)
    inverse = np.linalg.pinv(everything.design(common.position, common.variance))
    errors = np.sqrt((inverse**2).sum(axis=1))
    widths = {}
    for i, element in enumerate(profile.elements):
        if i not in stepping:
            widths[element] = Width.missing("it does not differ between the two sides")
            continue
        widths[element] = _fit_width(_Steps(profile.subset([i]), probe), common.position, common.variance)
    return InterfaceFit(
        profile=profile,
        probe=float(probe),
        common=common,
        widths=widths,
        plateaus=plateaus.reshape(2, -1).T,
        plateaus_std=errors.reshape(2, -1).T,
        beyond={profile.elements[i]: _beyond(everything, steps, common, i) for i in stepping},
    )


def _find_start(profile: Profile, probe: float) -> tuple[tuple[float, float], list[int]]:
    """Where to start, and which elements have a step there."""
    steps = _Steps(profile, probe)
    position, variance = steps.start()
    plateaus, _ = steps.solve(position, variance)
    inverse = np.linalg.pinv(steps.design(position, variance))
    m = len(profile.elements)
    difference = inverse[m:] - inverse[:m]
    error = np.sqrt((difference**2).sum(axis=1))
    # The position was chosen for the largest steps: some standard errors are no finding.
    large = np.abs(plateaus[m:] - plateaus[:m]) > _STEP * error
    return (position, variance), [int(i) for i in np.flatnonzero(large)]


def _smooth_covariance(profile: Profile, share: FloatArray) -> FloatArray:
    """Covariance of bins as what the two sides contribute, in proportion to their shares."""
    single = profile.covariance * profile.pixels[:, np.newaxis, np.newaxis]
    design = np.stack([1.0 - share, share], axis=1)
    sides = np.linalg.lstsq(design, single.reshape(len(share), -1), rcond=None)[0]
    smooth = (np.clip(design, 0.0, 1.0) @ sides).reshape(single.shape)
    lowest = np.linalg.eigvalsh(
        smooth / np.sqrt(np.einsum("bii,bjj->bij", np.abs(smooth) + 1e-300, np.abs(smooth) + 1e-300))
    )[:, 0]
    smooth = np.where((lowest > 1e-6)[:, np.newaxis, np.newaxis], smooth, single)
    return smooth / profile.pixels[:, np.newaxis, np.newaxis]


def _fit_width(steps: _Steps, position: float, variance: float) -> Width:
    """Width of the elements of a problem, with the interval of its likelihood."""
    for _ in range(2):
        variance = max(variance, 2.0 * steps.floor - steps.probe_variance)
        found = steps.minimise(position, variance)
        position, variance = found.params["position"].value, found.params["variance"].value
        steps.set_covariance(_smooth_covariance(steps.profile, steps.share(position, max(variance, 0.0))))
    found = steps.minimise(position, variance)
    position, variance = float(found.params["position"].value), float(found.params["variance"].value)
    covariance = steps.information(position, variance)[1]
    errors = np.sqrt(np.maximum(covariance.diagonal(), 0.0))
    low, high = _interval(steps, position, variance, float(errors[1]), float(found.chisqr))
    dof = steps.bins * steps.m - 2 * steps.m - 2
    return Width(
        value=_to_width(variance),
        low=_to_width(low),
        high=_to_width(high),
        variance=variance,
        variance_std=float(errors[1]),
        position=position,
        position_std=float(errors[0]),
        p_fit=float(special.gammaincc(0.5 * max(dof, 1), 0.5 * found.chisqr)),
    )


def _to_width(variance: float) -> float:
    return WIDTH_PER_SIGMA * float(np.sqrt(max(variance, 0.0)))


def _interval(steps: _Steps, position: float, variance: float, error: float, best: float) -> tuple[float, float]:
    """Variances at which the sum of squares has grown by 1, the position following."""
    lowest = steps.floor - steps.probe_variance
    span = 3.0 * steps.profile.spacing
    error = max(error, 1e-3 * steps.profile.spacing**2)

    def excess(v: float) -> float:
        # The bounded search may miss the position of the fit itself, where the likelihood is rough.
        return min(steps.best_position(v, position, span)[1], steps.objective(position, v)) - best - 1.0

    def cross(direction: float) -> float:
        inside, step = variance, error
        for _ in range(40):
            outside = max(variance + direction * step, lowest)
            if excess(outside) > 0.0:
                return float(optimize.brentq(excess, min(inside, outside), max(inside, outside), xtol=1e-2 * error))
            if outside <= lowest:
                return lowest
            inside, step = outside, 1.6 * step
        return float("inf")

    return cross(-1.0), cross(1.0)


def _beyond(steps: _Steps, joint: _Steps, common: Width, index: int) -> Beyond:
    """Amount of an element on its poor side, with the error of bins, plateaus and position together.

    What the error function has there, and what the bins have beyond it: so the bin that the boundary cuts does no harm.
    What lies evenly on that side did not come over the boundary: it is taken off as the mean of the outer half, since a
    plateau that is fitted to all of the side has the mean of a long tail in it.
    """
    profile, m = steps.profile, steps.m
    middle = 0.5 * (profile.distance[1:] + profile.distance[:-1])
    edges = np.concatenate([[2.0 * profile.distance[0] - middle[0]], middle, [2.0 * profile.distance[-1] - middle[-1]]])
    plateaus, _ = steps.solve(common.position, common.variance)
    side = -1 if plateaus[m + index] > plateaus[index] else 1
    excess = float(abs(plateaus[m + index] - plateaus[index]))
    back = np.linalg.inv(steps.white)
    away = side * (profile.distance - common.position)
    outer = (away > 0.5 * max(away.max(), 0.0)).astype(float)
    outer /= max(outer.sum(), 1.0)

    def functional(position: float, variance: float) -> FloatArray:
        """The amount, as a linear function of the whitened data."""
        inverse = np.linalg.pinv(steps.design(position, variance))
        near, far = inverse[index], inverse[m + index]
        share = steps.share(position, variance)
        inside = np.clip(position, edges[:-1], edges[1:])
        length = inside - edges[:-1] if side < 0 else edges[1:] - inside
        weight = length - length.sum() * outer
        sigma = np.sqrt(max(variance + steps.probe_variance, steps.floor))
        bins = (weight[:, np.newaxis] * back[:, index, :]).ravel()
        fitted = (weight @ (1.0 - share)) * near + (weight @ share) * far
        return bins - fitted - side * (far - near) * sigma / np.sqrt(2.0 * np.pi)

    influence = functional(common.position, common.variance)
    amount = float(influence @ steps.data)
    small = 0.05 * profile.spacing
    size = 0.05 * max(common.variance + steps.probe_variance, steps.floor)
    around = [
        functional(common.position + dx, common.variance + dv) @ steps.data
        for dx, dv in ((small, 0.0), (-small, 0.0), (0.0, size), (0.0, -size))
    ]
    slopes, covariance = joint.information(common.position, common.variance)
    moves = -covariance @ slopes.T
    moved = (around[0] - around[1]) / (2.0 * small) * moves[0] + (around[2] - around[3]) / (2.0 * size) * moves[1]
    # The joint problem holds some of the elements: its whitened data in terms of those of all.
    own = [profile.elements.index(element) for element in joint.profile.elements]
    change = np.einsum("bij,bjk->bik", joint.white, back[:, own, :])

    def error(direction: FloatArray) -> float:
        other = np.einsum("bi,bik->bk", direction.reshape(steps.bins, -1), change).ravel()
        return float(np.linalg.norm(influence + other))

    # The probe widens the profile: what it puts beyond the boundary is the difference of the two error functions.
    whole = np.sqrt(max(common.variance + steps.probe_variance, steps.floor))
    narrow = np.sqrt(max(common.variance, 0.0))
    probe = excess * (whole - narrow) / np.sqrt(2.0 * np.pi)
    by_width = 1.0 / whole - 1.0 / np.sqrt(max(common.variance, common.variance_std))
    corrected = moved - 0.5 * excess * by_width / np.sqrt(2.0 * np.pi) * moves[1]
    return Beyond(
        amount=(amount - probe) / excess,
        std=error(corrected) / excess,
        atoms=amount - probe,
        recorded=amount / excess,
        recorded_std=error(moved) / excess,
        side=side,
    )
