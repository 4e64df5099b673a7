"""What is known of every pixel of a quantified electrode, as maps and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.lithiated_fraction import DelithiationStatus, LithiatedFraction
from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.region_statistics import RegionStatistics, region_statistics
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.signals.result import Result

BUILTIN = "built-in cross-sections"
BY_COMPUTED = "references found by computed spectra"


@dataclass(frozen=True, eq=False)
class DelithiationMaps(Result):
    """The maps and tables of a :class:`.Delithiation`, whose parameters these are.

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
    found_by_computed
        Whether these were found in the map by computed spectra, and not named by anyone.
    """

    statuses: ClassVar[type[IntEnum] | None] = DelithiationStatus
    found: Quantification = field(repr=False)
    electrode: Electrode
    method: str
    standard: Standard | None = field(default=None, repr=False)
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)
    found_by_computed: bool = False

    @property
    def builtin(self) -> bool:
        """Whether x is by cross-sections alone, without references."""
        return self.standard is None

    @property
    def calibration(self) -> str:
        """What x stands on: "references", those "found by computed spectra", or "built-in cross-sections"."""
        if self.builtin:
            return BUILTIN
        return BY_COMPUTED if self.found_by_computed else "references"

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

    @cached_property
    def unnamed(self) -> Any:
        """t/λ of what is not among the references, as far as the map shows it: what is left of t/λ by all amounts."""
        self.needed_standard("What was not named")
        return self._map(self.found.unnamed_thickness, "t/λ of unnamed material")

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

    def needed_standard(self, what: str) -> Standard:
        """The calibration, for something that cannot do without one.

        Parameters
        ----------
        what
            What needs it, as the first words of a sentence.

        Returns
        -------
        Standard
            The calibration.

        Raises
        ------
        AssbValueError
            If there were no references.

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
        >>> d.needed_standard("A plot of the phases").spectra.phases
        ('LiFePO4', 'FePO4')
        """
        if self.standard is None:
            lithiated, delithiated = self.electrode.lithiated, self.electrode.delithiated
            raise AssbValueError(
                f"{what} needs references: this result is by {BUILTIN}, whose errors are shared by all pixels of one "
                f"kind but differ between kinds. Quantify with references={{{lithiated!r}: ..., {delithiated!r}: ...}}."
            )
        return self.standard

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

    def _by_phase(self, values: NDArray[np.float64], title: str) -> dict[str, Any]:
        phases = self.needed_standard("The amount of each phase").spectra.phases
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
        if self.found.unnamed:
            columns["t/λ of unnamed material"] = self.found.unnamed_thickness
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
