"""The lithiated fraction of an electrode in every pixel, as maps and as tables, whatever it is from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.region_statistics import RegionStatistics, find_delithiated, region_statistics
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiated_pixels import DelithiatedPixels
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.signals.result import Result

_FEW = 0.01
"""Share of the pixels below which the summary says nothing of a status."""


@dataclass(frozen=True, eq=False)
class FractionMaps(Result):
    """Maps and tables of the lithiated fraction.

    Parameters
    ----------
    found
        What was found by every method, as arrays: ``contents`` by method, ``t_over_lambda`` and ``agreement``.
    electrode
        The electrode with its two end members.
    method
        The method whose maps are shown.
    """

    statuses: ClassVar[type[IntEnum] | None] = DelithiationStatus
    found: Any = field(repr=False)
    electrode: Electrode
    method: str

    @property
    def calibration(self) -> str:
        """What x stands on."""
        return "references"

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods by which x is known: those that the electrode allows."""
        return tuple(self.found.contents)

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
    def agreement(self) -> Any:
        """p value of the hypothesis that the methods differ by their errors only; NaN if there is only one."""
        return self._map(self.found.agreement, "p value of the agreement of the estimates")

    def region_statistics(self, region: Any = None) -> RegionStatistics:
        """Lithiated fraction of a region as a whole.

        Parameters
        ----------
        region
            None for all pixels, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy ROI.

        Returns
        -------
        RegionStatistics
            Fraction with its uncertainties; ``to_dataframe`` tells it as x, for many regions.

        Raises
        ------
        ValueError
            If the shape is wrong or no pixel is named.
        TypeError
            If the region is something else.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> round(d.region_statistics(pure["LiFePO4"]).fraction, 1)
        1.0
        """
        return region_statistics(self._mask(region).ravel(), self._content, self.found.t_over_lambda)

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
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> found = d.find_delithiated(0.05)
        >>> bool(found.found.data[pure["FePO4"]].all()), found.delithiated
        (True, 'FePO4')
        """
        self._check_null("find_delithiated")
        return DelithiatedPixels(
            finds=find_delithiated(self._content, fdr),
            fdr=fdr,
            delithiated=self.electrode.delithiated,
            axes=self.axes,
            provenance=self.provenance,
        )

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

    def _check_null(self, what: str) -> None:
        """Raise AssbValueError where errors are no measure of what a pixel without the end member would show."""

    def _summary(self, *, finds: bool = True) -> str:

        from hyperspy_assb.plotting.delithiation import method_text

        total = self._content.status.size
        quantified = self.quantified
        if quantified.any():
            found = self.region_statistics(quantified)
            lines = [
                f"x in {self.electrode.name} is {self.electrode.x_of(found.fraction):.3f} ± "
                f"{self._scale * found.fraction_std:.3f} (counting) ± {self._scale * found.fraction_systematic:.3f} "
                f"(systematic), by {method_text(self)}: mean over formula units of {int(quantified.sum())} of "
                f"{total} pixels."
            ]
        else:
            lines = [f"x in {self.electrode.name} is quantified in none of {total} pixels."]
        if quantified.any() and finds:
            lines.append(self.find_delithiated()._in_one_sentence())
        for status in DelithiationStatus:
            number = int(np.sum(self._content.status == status))
            if status is not DelithiationStatus.QUANTIFIED and number >= max(1.0, _FEW * total):
                lines.append(f"In {number} of {total} pixels {status.sentence}.")
        return "\n".join((*lines, *self.notes))

    def _pixel_columns(self) -> Mapping[str, Any]:
        content = self._content
        columns = {
            "x": self.x.data,
            "x_std": self.x_std.data,
            "x_systematic": self.x_systematic.data,
            **{name: getattr(content, name) for name in ("fraction", "fraction_std", "fraction_systematic")},
            **{name: getattr(content, name) for name in ("significance", "detection_limit", "electrode_share")},
            **{name: getattr(self.found, name) for name in ("t_over_lambda", "agreement")},
        }
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
