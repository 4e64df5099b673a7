"""Delithiation of a spectrum image: x in every pixel by every method, with the calibration that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.delithiation.end_members import check_method
from hyperspy_assb.eels.delithiation.lithiated_fraction import DETECTION_LIMIT, DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.mixing import compare_pixels_with_mixture
from hyperspy_assb.eels.delithiation.populations import fit_populations
from hyperspy_assb.eels.delithiation.prediction import dose_to_find, predict_estimate
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.region_statistics import RegionStatistics, find_delithiated, region_statistics
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiated_pixels import DelithiatedPixels
from hyperspy_assb.signals.eels.phase_coexistence import DelithiationMixtures, DelithiationPopulations
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.signals.result import Result

BUILTIN = "built-in cross-sections"
METHOD_NAMES = {
    "references": "the mixture of the reference spectra",
    "valence": "the 5 eV band per formula unit",
    "lithium": "Li K per formula unit",
    "combined": "all estimates combined",
}
"""Methods in words."""
_FEW = 0.01
"""Share of the pixels below which the summary says nothing of a status."""


@dataclass(frozen=True, eq=False)
class Delithiation(Result):
    """x of an electrode in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        What was found by every method, as arrays; see
        :class:`~hyperspy_assb.eels.delithiation.quantification.Quantification`.
    electrode
        The electrode with its two end members.
    method
        The method whose maps are shown; :meth:`with_method` shows another.
    standard
        The calibration, which serves other signals of the same specimen as well: pass this object as ``references``.
        None for the built-in calibration by cross-sections, which holds "lithium" alone.
    references
        Pure pixels, boolean arrays on the navigation axes.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
    >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
    >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
    >>> d
    Delithiation(LixFePO4, method='combined', calibration='references')
    >>> d.x.data.shape, d.x.metadata.General.title
    ((10, 10), 'x in LixFePO4')
    """

    statuses: ClassVar[type[IntEnum] | None] = DelithiationStatus
    found: Quantification = field(repr=False)
    electrode: Electrode
    method: str
    standard: Standard | None = field(default=None, repr=False)
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Delithiation({self.electrode.name}, method={self.method!r}, calibration={self.calibration!r})"

    @property
    def builtin(self) -> bool:
        """Whether x is by cross-sections alone, without references."""
        return self.standard is None

    @property
    def calibration(self) -> str:
        """What x stands on: "references" or "built-in cross-sections"."""
        return BUILTIN if self.builtin else "references"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods by which x is known: those that the electrode allows."""
        return tuple(self.found.contents)

    def with_method(self, method: str) -> Delithiation:
        """The same pixels by another method.

        Parameters
        ----------
        method
            One of ``methods``.

        Returns
        -------
        Delithiation
            With the maps of that method.

        Raises
        ------
        MissingFactError
            If the electrode has not the signature that the method needs.
        ValueError
            If there is no such method, or it needs references and there were none.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> d.methods
        ('valence', 'lithium', 'references', 'combined')
        >>> d.with_method("valence")
        Delithiation(LixFePO4, method='valence', calibration='references')
        """
        check_method(method, self.electrode)
        if method not in self.found.contents:
            needed_standard(self, f"method={method!r}")
        return replace(self, method=method)

    @cached_property
    def x(self) -> Any:
        """Ions per formula unit of the lithiated host, not clipped; NaN where ``status`` gives no answer."""
        return self._map(self.electrode.x_of(self._content.fraction), f"x in {self.electrode.name}")

    @cached_property
    def x_std(self) -> Any:
        """Standard error of x from counting."""
        return self._map(self._scale * self._content.fraction_std, "Standard error of x from counting")

    @cached_property
    def x_systematic(self) -> Any:
        """Uncertainty of x from calibration and from what pure pixels scatter beyond counting."""
        return self._map(self._scale * self._content.fraction_systematic, "Systematic uncertainty of x")

    @cached_property
    def fraction(self) -> Any:
        """Lithiated fraction: 1 in the lithiated end member, 0 in the delithiated one, not clipped."""
        return self._map(self._content.fraction, f"Fraction of {self.electrode.lithiated}")

    @cached_property
    def fraction_std(self) -> Any:
        """Standard error of the lithiated fraction from counting."""
        title = f"Standard error of the fraction of {self.electrode.lithiated} from counting"
        return self._map(self._content.fraction_std, title)

    @cached_property
    def fraction_systematic(self) -> Any:
        """Uncertainty of the lithiated fraction from everything else."""
        title = f"Systematic uncertainty of the fraction of {self.electrode.lithiated}"
        return self._map(self._content.fraction_systematic, title)

    @cached_property
    def significance(self) -> Any:
        """Standard errors by which the delithiated end member (for "lithium": the lithiated one) is above nothing."""
        return self._map(self._content.significance, f"Significance of {self._sought} in standard errors")

    @cached_property
    def detection_limit(self) -> Any:
        """Share of the delithiated end member (for "lithium": of the lithiated one) that is found 95 times of 100."""
        return self._map(self._content.detection_limit, f"Detection limit of {self._sought}")

    @cached_property
    def electrode_share(self) -> Any:
        """Share of the electrode in t/λ."""
        return self._map(self._content.electrode_share, f"Share of {self.electrode.name} in t/λ")

    @cached_property
    def status(self) -> Any:
        """:class:`~hyperspy_assb.eels.delithiation.lithiated_fraction.DelithiationStatus` as integers."""
        return self._map(self._content.status, "Status")

    @cached_property
    def t_over_lambda(self) -> Any:
        """Thickness over the inelastic mean free path."""
        return self._map(self.found.t_over_lambda, "t/λ")

    @cached_property
    def reduced_deviance(self) -> Any:
        """Of the fit of a pixel as a column of the phases (built-in: of the joint fit): 1 where it is explained."""
        return self._map(self.found.reduced_deviance, "Reduced deviance")

    @cached_property
    def agreement(self) -> Any:
        """p value of the hypothesis that the methods differ by their errors only; NaN if there is only one."""
        return self._map(self.found.agreement, "p value of the agreement of the estimates")

    @cached_property
    def amounts(self) -> dict[str, Any]:
        """t/λ of each phase in the column: LAGP, carbon, ...; below 0 where noise makes it so.

        Raises
        ------
        ValueError
            If there were no references: only they tell the phases.
        """
        return self._by_phase(self.found.amounts, "t/λ of {}")

    @cached_property
    def amounts_std(self) -> dict[str, Any]:
        """Standard errors of the amounts from counting."""
        return self._by_phase(self.found.amounts_std, "Standard error of t/λ of {}")

    def find_delithiated(self, fdr: float = 0.05) -> DelithiatedPixels:
        """Find the pixels that hold the delithiated end member, with a bounded share of false ones among them.

        Parameters
        ----------
        fdr
            False discovery rate: expected share of false finds among all, between 0 and 1. In an image without any,
            the probability of any find.

        Returns
        -------
        DelithiatedPixels
            Maps of p values and of the finds.

        Raises
        ------
        ValueError
            If the rate does not lie between 0 and 1, or there were no references.

        Notes
        -----
        The significance is 1 less the fraction over its statistical and systematic uncertainty, whatever
        ``significance`` is of. Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995).

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> found = d.find_delithiated(0.05)
        >>> bool(found.found.data[pure["FePO4"]].all()), found.delithiated
        (True, 'FePO4')
        """
        needed_standard(self, "find_delithiated")
        return DelithiatedPixels(
            finds=find_delithiated(self._content, fdr),
            fdr=fdr,
            delithiated=self.electrode.delithiated,
            axes=self.axes,
            provenance=self.provenance,
            notes=self.notes,
        )

    def fit_populations(self, region: Any = None) -> DelithiationPopulations:
        """Tell two phases from a solid solution by the distribution of the fraction in a region.

        Parameters
        ----------
        region
            None for the whole image, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy
            ROI.

        Returns
        -------
        DelithiationPopulations
            Shares, positions and widths of the populations, and which reading of the distribution holds.

        Raises
        ------
        ValueError
            If the shape is wrong, fewer than 10 pixels of the region have an x, or there were no references.
        TypeError
            If the region is something else.

        See Also
        --------
        hyperspy_assb.eels.delithiation.populations.fit_populations : The rules.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> print(d.fit_populations(pure["LiFePO4"] | pure["FePO4"]).status)
        two-phase
        """
        needed_standard(self, "fit_populations")
        inside = self._mask(region).ravel()
        fraction, std = self._content.fraction[inside], self._content.fraction_std[inside]
        return DelithiationPopulations(
            found=fit_populations(fraction, std),
            electrode=self.electrode,
            fraction=fraction,
            fraction_std=std,
            provenance=self.provenance,
            notes=self.notes,
        )

    def compare_with_mixture(self, region: Any = None) -> DelithiationMixtures:
        """Tell whether spectra of intermediate x are mixtures of the end members, or have a line shape of their own.

        Parameters
        ----------
        region
            None for the whole image, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy
            ROI. It should hold pixels near both end members as well.

        Returns
        -------
        DelithiationMixtures
            What lies off the straight line between the end members, and how likely so much is.

        Raises
        ------
        ValueError
            If the shape is wrong, or there were no references.
        TypeError
            If the region is something else.

        See Also
        --------
        hyperspy_assb.eels.delithiation.mixing.compare_with_mixture : The test.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> print(d.compare_with_mixture().status)
        cannot be told
        """
        standard = needed_standard(self, "compare_with_mixture")
        pixels = np.flatnonzero(self._mask(region))
        return DelithiationMixtures(
            found=compare_pixels_with_mixture(self.found, standard, self.method, pixels),
            electrode=self.electrode,
            provenance=self.provenance,
            notes=self.notes,
        )

    def predict_precision(
        self,
        dose: ArrayLike,
        *,
        x: float | None = None,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> pd.DataFrame:
        """Predict how well x will be known from spectra of some doses, by mixture of the references.

        Parameters
        ----------
        dose
            Electrons in a spectrum, zero-loss peak included.
        x
            Ions per formula unit in the column; None: those of the lithiated end member.
        t_over_lambda
            Of the column.
        others
            Shares of t/λ of other phases of the references, such as {"LAGP": 0.3}.
        detector
            Gain and read noise; a perfect counter by default.

        Returns
        -------
        pandas.DataFrame
            One row a dose: standard error from counting, systematic uncertainty, and detection limit (a share).

        Raises
        ------
        ValueError
            If a dose or t/λ is not above 0, a phase is not known, or the method is no mixture of references.

        Notes
        -----
        The Cramér-Rao bound, and what pure pixels scatter. An electrode with signatures is known better when combined.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> errors = d.predict_precision([1e4, 1e6])["x_std"]
        >>> round(errors[0] / errors[1])
        10
        """
        standard = self._standard_of_mixture("predict_precision")
        found = predict_estimate(
            standard,
            dose,
            fraction=1.0 if x is None else float(self.electrode.fraction_of(float(x))),
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )
        return pd.DataFrame(
            {
                "dose": np.atleast_1d(np.asarray(dose, dtype=float)),
                "x_std": self._scale * np.sqrt(found.variance),
                "x_systematic": self._scale * np.sqrt(found.systematic),
                "detection_limit": DETECTION_LIMIT * np.sqrt(found.null_variance),
            }
        )

    def dose_to_find(
        self,
        share: float,
        *,
        power: float = 0.9,
        alpha: float = 0.05,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> float:
        """Predict the dose at which a share of the delithiated end member is found.

        Parameters
        ----------
        share
            Of the delithiated end member in the electrode, between 0 and 1.
        power
            Probability with which it is found.
        alpha
            Probability with which a pixel without any passes for one that has it.
        t_over_lambda, others, detector
            As in :meth:`predict_precision`.

        Returns
        -------
        float
            Electrons in a spectrum; infinite where what pure pixels scatter hides that share.

        Raises
        ------
        ValueError
            If a share or probability is impossible, a phase is not known, or the method is no mixture of references.

        Notes
        -----
        Currie, Anal. Chem. 40, 586 (1968).

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> d.dose_to_find(0.5) < d.dose_to_find(0.2)
        True
        """
        return dose_to_find(
            self._standard_of_mixture("dose_to_find"),
            share,
            power=power,
            alpha=alpha,
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )

    def region_statistics(self, region: Any = None) -> RegionStatistics:
        """Lithiated fraction of a region as a whole.

        Parameters
        ----------
        region
            None for all pixels, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI.

        Returns
        -------
        RegionStatistics
            Fraction with its uncertainties; :meth:`to_dataframe` tells it as x, for many regions.

        Raises
        ------
        ValueError
            If the shape is wrong or no pixel is named.
        TypeError
            If the region is something else.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery((10, 10), seed=7, signal_type="EELS_ASSB")
        >>> pure = {phase: battery.truth.after.pure(phase) for phase in ("LiFePO4", "FePO4")}
        >>> d = battery.eels_after.quantify_delithiation(pure, show_progressbar=False)
        >>> round(d.region_statistics(pure["LiFePO4"]).fraction, 1)
        1.0
        """
        return region_statistics(self._mask(region).ravel(), self._content, self.found.t_over_lambda)

    def summary(self) -> str:
        """x of all quantified pixels together, where the delithiated end member is, pixels by status, and the notes."""
        total = self._content.status.size
        quantified = self.quantified
        if quantified.any():
            found = self.region_statistics(quantified)
            lines = [
                f"x in {self.electrode.name} is {self.electrode.x_of(found.fraction):.3f} ± "
                f"{self._scale * found.fraction_std:.3f} (counting) ± {self._scale * found.fraction_systematic:.3f} "
                f"(systematic), from {METHOD_NAMES[self.method]}: mean by formula units of {int(quantified.sum())} of "
                f"{total} pixels."
            ]
        else:
            lines = [f"x in {self.electrode.name} is quantified in none of {total} pixels."]
        if quantified.any() and not self.builtin:
            lines.append(self.find_delithiated()._in_one_sentence())
        for status in DelithiationStatus:
            number = int(np.sum(self._content.status == status))
            if status is not DelithiationStatus.QUANTIFIED and number >= max(1.0, _FEW * total):
                lines.append(f"In {number} of {total} pixels {status.sentence}.")
        return "\n".join((*lines, *self.notes))

    def plot(self) -> Any:
        """Plot x, its uncertainty and the status as maps, and the distribution of x.

        Returns
        -------
        numpy.ndarray
            The matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.delithiation import plot_delithiation

        return plot_delithiation(self)

    @property
    def quantified(self) -> NDArray[np.bool_]:
        """Where there is an x that nothing is held against, an array of the shape of the maps."""
        content = self._content
        known = (content.status == DelithiationStatus.QUANTIFIED) & np.isfinite(content.fraction)
        return np.reshape(known, self.shape)

    @property
    def _content(self) -> LithiatedFraction:
        return self.found.contents[self.method]

    @property
    def _scale(self) -> float:
        """Ions per formula unit between the end members."""
        return self.electrode.ions_removed

    @property
    def _sought(self) -> str:
        return self.electrode.lithiated if self.method == "lithium" else self.electrode.delithiated

    def _mask(self, region: Any) -> NDArray[np.bool_]:
        return self._everywhere() if region is None else region_mask(self._map(np.zeros(self.shape), ""), region)

    def _standard_of_mixture(self, what: str) -> Standard:
        standard = needed_standard(self, what)
        if self.method not in ("references", "combined"):
            raise AssbValueError(
                f"{what} is about the mixture of references, not {self.method!r}: with_method('references')."
            )
        return standard

    def _by_phase(self, values: NDArray[np.float64], title: str) -> dict[str, Any]:
        phases = needed_standard(self, "The amount of each phase").spectra.phases
        return self._maps(values, phases, title)

    def _pixel_columns(self) -> Mapping[str, Any]:
        content = self._content
        columns = {
            "x": self.x.data,
            "x_std": self.x_std.data,
            "x_systematic": self.x_systematic.data,
            **{name: getattr(content, name) for name in ("fraction", "fraction_std", "fraction_systematic")},
            **{name: getattr(content, name) for name in ("significance", "detection_limit", "electrode_share")},
            **{name: getattr(self.found, name) for name in ("t_over_lambda", "reduced_deviance", "agreement")},
        }
        for r, phase in enumerate(() if self.standard is None else self.standard.spectra.phases):
            columns[f"t/λ of {phase}"] = self.found.amounts[:, r]
        for other, values in self.found.contents.items():
            if other != self.method:
                columns[f"x ({other})"] = self.electrode.x_of(values.fraction)
        return columns

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        found = self.region_statistics(mask)
        return {
            "n_pixels": found.n_pixels,
            "n_answered": found.n_answered,
            "x": self.electrode.x_of(found.fraction),
            "x_std": self._scale * found.fraction_std,
            "x_systematic": self._scale * found.fraction_systematic,
            "x_best": self.electrode.x_of(found.best),
            "x_best_std": self._scale * found.best_std,
            "x_spread": self._scale * found.spread,
            **{name: getattr(found, name) for name in ("fraction", "fraction_std", "fraction_systematic")},
            "t_over_lambda": found.t_over_lambda,
            "electrode_share": found.electrode_share,
        }

    def _shown(self) -> Any:
        return self.x


def needed_standard(result: Delithiation, what: str) -> Standard:
    """The calibration for something that needs one, which is named in the AssbValueError if there is none."""
    if result.standard is None:
        lithiated, delithiated = result.electrode.lithiated, result.electrode.delithiated
        raise AssbValueError(
            f"{what} needs references: this result is by {BUILTIN}, whose errors are common to pixels of one kind "
            f"and differ between kinds. Quantify with references={{{lithiated!r}: ..., {delithiated!r}: ...}}."
        )
    return result.standard
