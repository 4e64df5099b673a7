"""How good a fit of many spectra is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import InitVar, dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from hyperspy.signals import BaseSignal
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbRuntimeError
from hyperspy_assb.fitting.solver.noise_claim import Noise
from hyperspy_assb.fitting.solver.spectra_fit import Status
from hyperspy_assb.models.results import Evidence, Goodness
from hyperspy_assb.signals.result import Result


@dataclass(frozen=True, eq=False)
class FitQuality(Result):
    """How good a batched fit is at every position; NaN where there is no fit.

    Quality of a fit by :func:`hyperspy_assb.multifit`, in ``m.fit_quality``.

    Parameters
    ----------
    found
        Deviances, degrees of freedom and status, as arrays; see :class:`~hyperspy_assb.models.results.Goodness`.
    p
        p value of every spectrum, shape (S,); None where they were not evaluated yet, or cannot be.
    evidence
        The fit that the p values are evaluated from when they are first asked for; a file keeps them instead.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import hyperspy_assb
    >>> from hyperspy_assb.components import DarkLevel
    >>> signal = hs.signals.Signal1D(np.random.default_rng(3).poisson(20.0, (2, 3, 60)))
    >>> model = signal.create_model()
    >>> model.append(DarkLevel(20.0))
    >>> _ = hyperspy_assb.multifit(model, show_progressbar=False)
    >>> print(model.fit_quality.summary())
    6 of 6 spectra were fitted: 6 converged.
    Deviance over degrees of freedom: 0.983 in the median, 0.811 to 1.15.
    >>> model.fit_quality.p_value.data.shape, float(model.fit_quality.p_value.data.min().round(1))
    ((2, 3), 0.2)
    >>> quality = model.fit_quality
    >>> bool((quality.reduced_deviance.data == quality.deviance.data / quality.dof.data).all())
    True
    >>> bool((quality.bic.data > quality.aic.data).all()), quality.status.data.max()
    (True, np.int8(0))
    >>> quality.noise.detector.gain, str(quality.noise.source)
    (1.0, 'trusted')
    >>> ax = quality.plot()
    """

    statuses: ClassVar[type[IntEnum] | None] = Status
    found: Goodness = field(repr=False)
    p: NDArray[np.float64] | None = field(default=None, repr=False)
    evidence: InitVar[Evidence | None] = None

    def __post_init__(self, evidence: Evidence | None) -> None:
        object.__setattr__(self, "_evidence", evidence)

    @property
    def noise(self) -> Noise:
        """Gain, read noise and correlation of channels that the errors come from, and why these.

        Raises
        ------
        RuntimeError
            If the fit is not there, as in a copy by pickle: ``found.noise`` has the words.
        """
        if self._evidence is None:
            raise AssbRuntimeError("The fit is gone: found.noise says where gain and read noise came from.")
        found: Noise = self._evidence.noise
        return found

    @cached_property
    def deviance(self) -> BaseSignal:
        """Poisson deviance, or weighted sum of squares."""
        return self._map(self.found.deviance, "Deviance")

    @cached_property
    def dof(self) -> BaseSignal:
        """Degrees of freedom: fitted channels minus free parameters."""
        return self._map(self.found.dof, "Degrees of freedom")

    @cached_property
    def status(self) -> BaseSignal:
        """:class:`~hyperspy_assb.fitting.solver.spectra_fit.Status` as integers."""
        return self._map(self.found.status, "Fit status")

    @cached_property
    def reduced_deviance(self) -> BaseSignal:
        """Deviance over degrees of freedom: 1 for a true model where there are many electrons in each channel."""
        return self._map(self._reduced, "Reduced deviance")

    @cached_property
    def p_value(self) -> BaseSignal:
        """Probability that a true model is missed by more than here; it holds for few electrons per channel too.

        It is evaluated when it is first asked for, some spectra at a time, with the moments of the Poisson deviance;
        see :func:`~hyperspy_assb.fitting.solver.fit_statistics.deviance_p_value`.

        Raises
        ------
        ValueError
            After least squares without a known variance.
        RuntimeError
            If neither the values nor the fit are there, as in a copy by pickle.
        """
        if self.p is not None:
            return self._map(self.p, "p value")
        if self._evidence is None:
            raise AssbRuntimeError(
                "The fit that p values are evaluated from is gone: ask for p_value before pickling, or save."
            )
        return self._map(self._evidence.p_value(), "p value")

    @cached_property
    def aic(self) -> BaseSignal:
        """Akaike's information criterion: of two models, the one with the smaller is better.

        See :func:`~hyperspy_assb.fitting.solver.fit_statistics.information_criteria`.
        """
        return self._map(self.found.criteria().aic, "Akaike information criterion")

    @cached_property
    def bic(self) -> BaseSignal:
        """Bayesian information criterion: of two models, the one with the smaller is better.

        See :func:`~hyperspy_assb.fitting.solver.fit_statistics.information_criteria`.
        """
        return self._map(self.found.criteria().bic, "Bayesian information criterion")

    def summary(self) -> str:
        """How many spectra were fitted, how well, and the notes."""
        counts = self._count_statuses(self._everywhere())
        said = ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items() if n)
        usable = sum(counts[s.name.lower()] for s in Status if s.usable)
        lines = [f"{usable} of {self.found.status.size} spectra were fitted: {said}."]
        reduced = self._reduced[np.isfinite(self._reduced)]
        if reduced.size:
            lines.append(
                f"Deviance over degrees of freedom: {np.median(reduced):.3g} in the median, {reduced.min():.3g} to "
                f"{reduced.max():.3g}."
            )
        return "\n".join((*lines, *self.notes))

    def plot(self) -> Axes:
        """Plot the reduced deviance; returns the matplotlib axes."""
        from hyperspy_assb.plotting import MapOptions, plot_map

        return plot_map(self.reduced_deviance, label="Deviance / dof", options=MapOptions(missing_label="not fitted"))

    def save(self, path: str | PathLike[str], *, overwrite: bool | None = None) -> None:
        """Save everything in one file, p values included, which are evaluated for it.

        Parameters
        ----------
        path, overwrite
            As for every result: :meth:`.result.Result.save`.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> import hyperspy.api as hs
        >>> import hyperspy_assb
        >>> from hyperspy_assb.components import DarkLevel
        >>> model = hs.signals.Signal1D(np.full((2, 3, 60), 20.0)).create_model()
        >>> model.append(DarkLevel(20.0))
        >>> _ = hyperspy_assb.multifit(model, show_progressbar=False)
        >>> path = Path(tempfile.mkdtemp()) / "quality.hspy"
        >>> model.fit_quality.save(path)
        >>> hyperspy_assb.load(path).p_value.data.shape
        (2, 3)
        """
        # By its name: what is saved is not this object.
        Result.save(replace(self, p=self._known_p()), path, overwrite=overwrite)

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone: compiled models stay in this process, and p values that were evaluated go along."""
        known = np.ravel(vars(self)["p_value"].data) if "p_value" in vars(self) else self.p
        return {**super().__getstate__(), "p": known, "_evidence": None}

    @cached_property
    def _reduced(self) -> NDArray[np.float64]:
        dof = self.found.dof.astype(float)
        return np.asarray(self.found.deviance / np.where(dof > 0, dof, np.nan))

    def _known_p(self) -> NDArray[np.float64] | None:
        """p values where they can be had."""
        if self.p is not None or self._evidence is None or not self.found.known_variance:
            return self.p
        return np.ravel(self.p_value.data)

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = {"deviance": self.found.deviance, "degrees of freedom": self.found.dof, "reduced": self._reduced}
        p = self._known_p()
        if p is not None:
            columns["p value"] = p
        return {**columns, "AIC": self.aic.data, "BIC": self.bic.data}

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        known = mask.ravel() & np.isfinite(self._reduced)
        deviance, dof = float(self.found.deviance[known].sum()), int(self.found.dof[known].sum())
        reduced, std = (deviance / dof, float(np.sqrt(2.0 / dof))) if dof > 0 else (np.nan, np.nan)
        return {"deviance": deviance, "degrees of freedom": dof, "reduced": reduced, "reduced std": std}

    def _shown(self) -> Any:
        return self.reduced_deviance
