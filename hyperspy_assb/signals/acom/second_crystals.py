"""The second of two crystals in the columns of a scan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.plotting.colours import orientation_colours
from hyperspy_assb.signals.acom.scan_maps import ScanMaps, numbered, with_classes

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal


@dataclass(frozen=True)
class SecondCrystals:
    """Phase, orientation and share of the second crystal, where there are two in a column.

    Parameters
    ----------
    maps
        What indexing found.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
    >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
    >>> second = patterns.index_orientations(bank, calibrate=False, show_progressbar=False).second
    >>> second.phase_map, second.share
    (<BaseSignal, title: Phase of the second crystal, dimensions: (4, 4|)>, <BaseSignal, title: Share ...)
    >>> second.orientation.shape, second.share_std.data.shape, second.correlation.data.shape
    ((4, 4, 4), (4, 4), (4, 4))
    >>> list(second.posterior), second.colours("z").shape, second.there.shape
    (['LiFePO4', 'FePO4'], (4, 4, 3), (4, 4))
    """

    maps: ScanMaps = field(repr=False)

    def __repr__(self) -> str:
        return f"<SecondCrystals, in {int(self.there.sum())} of {self.there.size} pixels>"

    @property
    def there(self) -> NDArray[np.bool_]:
        """Where there are two crystals, shape (ny, nx)."""
        return np.asarray(self.maps.found.second_phase) >= 0

    @property
    def orientation(self) -> NDArray[np.float64]:
        """Specimen to crystal, NaN where there is no second crystal, shape (ny, nx, 4)."""
        return np.asarray(self.maps.found.second_orientation, dtype=float)

    @cached_property
    def phase_map(self) -> BaseSignal:
        """Index into the phases, -1 where there is no second crystal."""
        signal = self._map(np.asarray(self.maps.found.second_phase).astype(np.int16), "Phase of the second crystal")
        return with_classes(signal, numbered((p.name for p in self.maps.phases), none="no second crystal"))

    @cached_property
    def share(self) -> BaseSignal:
        """Its share in the thickness of what is crystalline, 0 where there is no second crystal."""
        return self._map(self.maps.found.second_share, "Share of the second crystal")

    @cached_property
    def share_std(self) -> BaseSignal:
        """Standard errors of ``share``, from the scatter of intensities; NaN where there is no second crystal."""
        return self._map(self.maps.found.second_share_std, "Standard error of the share of the second crystal")

    @cached_property
    def correlation(self) -> BaseSignal:
        """Score of what the first crystal leaves of the pattern, 0 where there is no second one."""
        return self._map(self.maps.found.second_score, "Correlation of the second crystal")

    @cached_property
    def posterior(self) -> dict[str, BaseSignal]:
        """Probability of each phase by name, given that one of them is the second crystal."""
        values = np.asarray(self.maps.found.second_posterior)
        names = (p.name for p in self.maps.phases)
        return self.maps._maps(values, names, "Probability of {} as the second crystal")

    def colours(self, direction: str = "z") -> NDArray[np.uint8]:
        """Colours of the crystal direction along x, y or z of the specimen, as ``OrientationMaps.ipf`` has them.

        Parameters
        ----------
        direction
            "x", "y" or "z".

        Returns
        -------
        numpy.ndarray
            Red, green and blue, black where there is no second crystal, shape (ny, nx, 3).

        Raises
        ------
        ValueError
            If there is no such axis.

        Examples
        --------
        See :class:`SecondCrystals`.
        """
        found = self.maps.found
        return np.asarray(
            orientation_colours(np.asarray(found.second_phase), self.orientation, self.maps.phases, direction)
        )

    def pixel_columns(self) -> Mapping[str, Any]:
        """Columns of the table of pixels: phase, share and its standard error.

        Examples
        --------
        See :class:`SecondCrystals`.
        """
        found = self.maps.found
        names = np.array([*(p.name for p in self.maps.phases), ""])
        return {
            "second phase": names[np.asarray(found.second_phase)],
            "share of second phase": found.second_share,
            "share of second phase std": found.second_share_std,
        }

    def _map(self, values: Any, title: str) -> Any:
        return self.maps._map(values, title)


def second_crystals_of(maps: ScanMaps) -> SecondCrystals | None:
    """The second crystals of a result; None where none was looked for, or it is of an earlier version."""
    return None if maps.found.second_phase is None or maps.found.not_offered is None else SecondCrystals(maps)
