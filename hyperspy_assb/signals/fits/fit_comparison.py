"""Which of two models a spectrum image asks for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np
from hyperspy.signals import BaseSignal
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.models.results import evidence_of
from hyperspy_assb.signals.result import Result, navigation_axes

_DECISIVE = 10.0
"""Difference of a criterion at which the worse model has next to no support: Burnham and Anderson (2002), p. 70."""


class PreferredModel(IntEnum):
    """Which of two models a spectrum asks for."""

    UNDECIDED = 0
    """Akaike's criteria of the two are less than 10 apart."""
    FIRST = 1
    """The first model: the criterion of the second is larger by 10 or more."""
    SECOND = 2
    """The second model: the criterion of the first is larger by 10 or more."""
    NOT_FITTED = 3
    """One of the two has no fit there."""


@dataclass(frozen=True, eq=False)
class FitComparison(Result):
    """Two fits of the same spectra compared, on the navigation axes; NaN where one has no fit.

    What :func:`hyperspy_assb.compare_fits` returns.

    Parameters
    ----------
    aic, bic
        Criterion of the first model less that of the second, shape (S,).
    p
        p value of the likelihood-ratio test, shape (S,).

    Examples
    --------
    >>> found = FitComparison(np.array([-2.0, 14.0]), np.array([-4.0, 12.0]), np.array([1.0, 1e-4]))
    >>> print(found.summary())
    Of 2 spectra, 0 ask for the first model and 1 for the second; 1 are undecided.
    >>> axes = ({"name": "x", "size": 2, "scale": 2.0, "units": "nm", "navigate": True},)
    >>> found = FitComparison(found.aic, found.bic, found.p, axes=axes)
    >>> found.delta_aic.data, found.delta_bic.data, found.likelihood_ratio_p_value.data
    (array([-2., 14.]), array([-4., 12.]), array([1.e+00, 1.e-04]))
    >>> [PreferredModel(value).name for value in found.status.data]
    ['UNDECIDED', 'SECOND']
    """

    statuses: ClassVar[type[IntEnum] | None] = PreferredModel
    aic: NDArray[np.float64] = field(repr=False)
    bic: NDArray[np.float64] = field(repr=False)
    p: NDArray[np.float64] = field(repr=False)

    @cached_property
    def delta_aic(self) -> BaseSignal:
        """Akaike's criterion of the first model less that of the second: positive where the second is better.

        Of models that are 10 apart, the worse has next to no support.
        """
        return self._map(self.aic, "AIC of the first model less that of the second")

    @cached_property
    def delta_bic(self) -> BaseSignal:
        """The same of the Bayesian criterion."""
        return self._map(self.bic, "BIC of the first model less that of the second")

    @cached_property
    def likelihood_ratio_p_value(self) -> BaseSignal:
        """Probability that the smaller model, if it is true, is beaten this clearly by the larger one.

        Where it is small, the additional free parameters are needed. It holds if the smaller model is a special case of
        the larger one, which is for you to know. NaN where both have the same number of free parameters.
        """
        return self._map(self.p, "Likelihood-ratio p value")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`PreferredModel` as integers, by Akaike's criterion."""
        return self._map(self._preferred, "Preferred model")

    @cached_property
    def _preferred(self) -> NDArray[np.int8]:
        found = np.full(self.aic.shape, PreferredModel.UNDECIDED, dtype=np.int8)
        found[self.aic >= _DECISIVE] = PreferredModel.SECOND
        found[self.aic <= -_DECISIVE] = PreferredModel.FIRST
        found[~np.isfinite(self.aic)] = PreferredModel.NOT_FITTED
        return found

    def summary(self) -> str:
        """How many spectra ask for which model, and the notes."""
        count = {s: int(np.sum(self._preferred == s)) for s in PreferredModel}
        line = (
            f"Of {self._preferred.size} spectra, {count[PreferredModel.FIRST]} ask for the first model and "
            f"{count[PreferredModel.SECOND]} for the second; {count[PreferredModel.UNDECIDED]} are undecided."
        )
        missing = count[PreferredModel.NOT_FITTED]
        return "\n".join((line, *([f"{missing} were not fitted by both."] if missing else []), *self.notes))

    def plot(self, criterion: Literal["aic", "bic"] = "aic", *, ax: Axes | None = None) -> Axes:
        """Plot where which model is better.

        Parameters
        ----------
        criterion
            "aic" or "bic".
        ax : matplotlib.axes.Axes, optional
            Axes to draw on; new ones by default.

        Returns
        -------
        matplotlib.axes.Axes
            A map with colours about 0, where the models are equally good.

        Raises
        ------
        ValueError
            If the criterion is not one of the two.

        Examples
        --------
        >>> axes = tuple({"name": name, "size": 2, "navigate": True} for name in "yx")
        >>> delta = np.array([-2.0, 14.0, 3.0, 0.5])
        >>> ax = FitComparison(delta, delta, np.full(4, 0.5), axes=axes).plot("bic")
        >>> ax.get_title(loc="left")
        'Above 0 the second model is better'
        """
        from hyperspy_assb.plotting import MapOptions, plot_map
        from hyperspy_assb.plotting.style import robust_limits

        if criterion not in ("aic", "bic"):
            raise AssbValueError(f'criterion must be "aic" or "bic", not {criterion!r}.')
        signal = self.delta_aic if criterion == "aic" else self.delta_bic
        limit = max(abs(end) for end in robust_limits(np.asarray(signal.data, dtype=float)))
        return plot_map(
            signal,
            label=f"Δ{criterion.upper()}",
            title="Above 0 the second model is better",
            ax=ax,
            cmap="RdBu_r",
            vmin=-limit,
            vmax=limit,
            options=MapOptions(missing_label="not fitted by both"),
        )

    def _pixel_columns(self) -> Mapping[str, Any]:
        return {"ΔAIC": self.aic, "ΔBIC": self.bic, "likelihood-ratio p value": self.p}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        inside = mask.ravel()
        # Of one model for each spectrum: likelihoods multiply.
        return {"ΔAIC": float(np.nansum(self.aic[inside])), "ΔBIC": float(np.nansum(self.bic[inside]))}

    def _shown(self) -> Any:
        return self.delta_aic


def compare_fits(first: Any, second: Any) -> FitComparison:
    """Tell at every position which of two fitted models describes the spectrum better.

    Parameters
    ----------
    first, second : hyperspy.models.model1d.Model1D
        Models of the same signal, with the same channels, both fitted by :func:`hyperspy_assb.multifit` with the same
        loss function and detector.

    Returns
    -------
    comparison : FitComparison
        Differences of the information criteria, positive where the second is better, and the likelihood-ratio test.

    Raises
    ------
    RuntimeError
        If one of them is not fitted.
    ValueError
        If the signals differ in shape, axis or data (those in memory), or the fits in channels, loss function or
        detector.

    Notes
    -----
    Criteria: Burnham and Anderson, Model Selection and Multimodel Inference, 2nd ed. (2002), ch. 2. Test: Wilks, Ann.
    Math. Stat. 9, 60 (1938); where the smaller model lies on a bound of the larger one, as an amount of 0 that may not
    be negative does, the p value of one additional parameter is half of what is given (Self and Liang, J. Am. Stat.
    Assoc. 82, 605 (1987)). A component whose shape is only defined where it has an amount (a peak with a free position)
    is no regular case: the p value is then too small.

    Examples
    --------
    >>> import hyperspy.api as hs, hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel, FePO4ValenceBand
    >>> signal = hs.signals.Signal1D(np.random.default_rng(3).poisson(20.0, (4, 60)).astype(float))
    >>> flat, peaked = signal.create_model(), signal.create_model()
    >>> flat.append(DarkLevel(20.0))
    >>> peaked.extend([DarkLevel(20.0), FePO4ValenceBand(10.0, 5.0, 3.0)])
    >>> peaked.set_parameters_not_free(["FePO4ValenceBand"], ["centre", "fwhm"])
    >>> for model in (flat, peaked):
    ...     _ = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> comparison = hyperspy_assb.compare_fits(flat, peaked)
    >>> bool((comparison.delta_bic.data < 0.0).all())  # nowhere is a peak asked for
    True
    """
    fits = evidence_of(first, "first model"), evidence_of(second, "second model")
    shapes = first.signal.data.shape, second.signal.data.shape
    if shapes[0] != shapes[1]:
        raise AssbValueError(f"The models are of different signals: their shapes are {shapes[0]} and {shapes[1]}.")
    data = first.signal.data, second.signal.data
    in_memory = all(isinstance(values, np.ndarray) for values in data)
    if (
        data[0] is not data[1]
        and in_memory
        and not np.array_equal(data[0], data[1], equal_nan=data[0].dtype.kind == "f")
    ):
        raise AssbValueError("The models are of different signals: their data differ.")
    if not np.allclose(fits[0].energy, fits[1].energy, rtol=1e-6, atol=0.0):
        raise AssbValueError("The models are of different signals: their signal axes differ.")
    one, other = fits[0].goodness, fits[1].goodness
    if not np.array_equal(fits[0].switches, fits[1].switches):
        raise AssbValueError(
            f"The models were fitted to different channels, {one.channels} and {other.channels} of them: set the same "
            "signal range for both and fit again."
        )
    for name in ("loss_function", "detector", "known_variance"):
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            raise AssbValueError(
                f"The models were fitted with different {name}, {a} and {b}: fit both in the same way."
            )
    criteria = one.criteria(), other.criteria()
    components = {
        which: [component.name for component in model if component.active]
        for which, model in (("first", first), ("second", second))
    }
    return FitComparison(
        criteria[0].aic - criteria[1].aic,
        criteria[0].bic - criteria[1].bic,
        one.likelihood_ratio_p_value(other),
        axes=navigation_axes(first.signal),
        provenance=provenance.record("compare_fits", parameters=components, methods=["poisson", "hyperspy", "numpy"]),
    )
