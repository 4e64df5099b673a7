"""Which of two models a spectrum image asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hyperspy_assb.models.results import Evidence


@dataclass(frozen=True, eq=False)
class FitComparison:
    """Two fits of the same spectra compared: HyperSpy signals on the navigation axes, NaN where one has no fit.

    Parameters
    ----------
    delta_aic, delta_bic
        Criterion of the first model less that of the second: positive where the second is better. Of the models that
        are 10 apart, the worse has next to no support.
    likelihood_ratio_p_value
        Probability that the model with fewer free parameters, if it is true, is beaten this clearly by the one with
        more: where it is small, the additional parameters are needed. It holds if the smaller model is a special case
        of the larger one, which is for you to know. NaN where both have the same number of free parameters.
    """

    delta_aic: Any
    delta_bic: Any
    likelihood_ratio_p_value: Any

    def plot(self, criterion: str = "aic", *, ax: Any = None) -> Any:
        """Plot where which model is better.

        Parameters
        ----------
        criterion : str
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
        """
        from hyperspy_assb.plotting import MapOptions, plot_map
        from hyperspy_assb.plotting.style import robust_limits

        if criterion not in ("aic", "bic"):
            raise ValueError(f'criterion must be "aic" or "bic", not {criterion!r}.')
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
    one, other = _evidence(first, "first"), _evidence(second, "second")
    shapes = first.signal.data.shape, second.signal.data.shape
    if shapes[0] != shapes[1]:
        raise ValueError(f"The models are of different signals: their shapes are {shapes[0]} and {shapes[1]}.")
    data = first.signal.data, second.signal.data
    in_memory = all(isinstance(values, np.ndarray) for values in data)
    if (
        data[0] is not data[1]
        and in_memory
        and not np.array_equal(data[0], data[1], equal_nan=data[0].dtype.kind == "f")
    ):
        raise ValueError("The models are of different signals: their data differ.")
    if not np.allclose(one.energy, other.energy, rtol=1e-6, atol=0.0):
        raise ValueError("The models are of different signals: their signal axes differ.")
    if not np.array_equal(one.switches, other.switches):
        raise ValueError(
            f"The models were fitted to different channels, {int(one.switches.sum())} and {int(other.switches.sum())} "
            "of them: set the same signal range for both and fit again."
        )
    for name in ("loss_function", "detector", "known_variance"):
        a, b = getattr(one, name), getattr(other, name)
        if a != b:
            raise ValueError(f"The models were fitted with different {name}, {a} and {b}: fit both in the same way.")
    criteria = one.criteria(), other.criteria()

    def as_map(values: Any, title: str) -> Any:
        return first.fit_quality._as_map(values, title)

    return FitComparison(
        delta_aic=as_map(criteria[0].aic - criteria[1].aic, "AIC of the first model less that of the second"),
        delta_bic=as_map(criteria[0].bic - criteria[1].bic, "BIC of the first model less that of the second"),
        likelihood_ratio_p_value=as_map(one.likelihood_ratio_p_value(other), "likelihood-ratio p value"),
    )


def _evidence(model: Any, name: str) -> Evidence:
    quality = getattr(model, "fit_quality", None)
    if quality is None:
        raise RuntimeError(f"The {name} model is not fitted: fit it with hyperspy_assb.multifit first.")
    return quality.evidence
