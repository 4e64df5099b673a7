"""What is known of every pixel of a quantified electrode, as maps and as tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.quantification import Quantification
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.signals.eels.fraction_maps import FractionMaps

BUILTIN = "built-in cross-sections"
BY_COMPUTED = "references found by computed spectra"


@dataclass(frozen=True, eq=False)
class DelithiationMaps(FractionMaps):
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

    found: Quantification = field(repr=False)
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

    @cached_property
    def reduced_deviance(self) -> Any:
        """Of the fit of a pixel as a column of the phases (built-in: of the joint fit): 1 where it is explained."""
        return self._map(self.found.reduced_deviance, "Reduced deviance")

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

    def _check_null(self, what: str) -> None:
        self.needed_standard(what)

    def _by_phase(self, values: NDArray[np.float64], title: str) -> dict[str, Any]:
        phases = self.needed_standard("The amount of each phase").spectra.phases
        return self._maps(values, phases, title)

    def _pixel_columns(self) -> Mapping[str, Any]:
        columns = dict(super()._pixel_columns())
        others = {name: columns.pop(name) for name in list(columns) if name.startswith("x (")}
        columns["reduced_deviance"] = self.found.reduced_deviance
        for r, phase in enumerate(() if self.standard is None else self.standard.spectra.phases):
            columns[f"t/λ of {phase}"] = self.found.amounts[:, r]
        if self.found.unnamed:
            columns["t/λ of unnamed material"] = self.found.unnamed_thickness
        return columns | others
