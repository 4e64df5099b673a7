"""Profiles of an EDX map across an interface."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb.eds.interfaces.interface_changes import compare_interfaces
from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.plotting.style import with_error
from hyperspy_assb.signals.eds.compositions import EDSPhases
from hyperspy_assb.signals.region_mask import Names
from hyperspy_assb.signals.result import Result


@dataclass(frozen=True, eq=False)
class InterfaceProfile(Result):
    """Elements across an interface, and how wide it is.

    Parameters
    ----------
    found
        Profile and fits, as arrays; see :class:`~hyperspy_assb.eds.interfaces.interface_width.InterfaceFit`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
    >>> options = InterfaceOptions(width=8.0, shape=(4, 32), position=0.0)
    >>> s = simulate_interface(options, rng=1, signal_type="EDS_TEM_ASSB").signal
    >>> profile = s.interface_profile(probe=1.5, elements=["O", "P", "Fe", "Ge"])
    >>> profile.elements
    ('O', 'P', 'Fe', 'Ge')
    >>> low, high = profile.width_interval
    >>> print(f"{profile.width:.1f} ({low:.1f} to {high:.1f}) nm at {profile.position:.1f} nm")
    8.2 (8.1 to 8.4) nm at 31.0 nm
    >>> profile.widths.loc[["all", "Fe", "Ge"], ["width (nm)", "low (nm)", "high (nm)"]].round(1)
             width (nm)  low (nm)  high (nm)
    element
    all             8.2       8.1        8.4
    Fe              8.1       7.8        8.3
    Ge              8.1       7.8        8.5
    >>> print(profile.summary().splitlines()[0])
    The 10-90 % width is 8.24 nm (68 % interval 8.08 to 8.40 nm), corrected for a probe of 1.5 nm; the boundary lies at
    30.979 ± 0.064 nm.
    >>> axes = profile.plot()
    """

    found: InterfaceFit = field(repr=False)

    @property
    def elements(self) -> tuple[str, ...]:
        """Symbols."""
        return self.found.profile.elements

    @property
    def width(self) -> float:
        """10-90 % width of all elements together in nm, without the probe."""
        return self.found.common.value

    @property
    def width_interval(self) -> tuple[float, float]:
        """68 % interval of the width in nm; begins at 0 where a sharp interface is not excluded."""
        return self.found.common.low, self.found.common.high

    @property
    def position(self) -> float:
        """Where the boundary lies, in nm along the profile."""
        return self.found.common.position

    @property
    def widths(self) -> pd.DataFrame:
        """One row an element and one for all together: width with interval, position, plateaus, what lies beyond."""
        rows = []
        for name in ("all", *self.elements):
            width = self.found.common if name == "all" else self.found.widths[name]
            row: dict[str, Any] = {"element": name, **asdict(width)}
            if name != "all":
                i = self.elements.index(name)
                row |= {"left": self.found.plateaus[i, 0], "right": self.found.plateaus[i, 1]}
                beyond = self.found.beyond.get(name)
                if beyond is not None:
                    row |= {"beyond (nm)": beyond.amount, "beyond std (nm)": beyond.std, "poor side": beyond.side}
            rows.append(row)
        table = pd.DataFrame(rows).set_index("element")
        return table.rename(columns={"value": "width (nm)", "low": "low (nm)", "high": "high (nm)"})

    def to_dataframe(self, region: Any = None, *, names: Names = None) -> pd.DataFrame:
        """One row a bin: distance, number of pixels, and atoms/nm^2 of each element with its standard error.

        Parameters
        ----------
        region, names
            None: a profile has no pixels.

        Returns
        -------
        pandas.DataFrame
            Of the bins.

        Raises
        ------
        AssbValueError
            If a region is named.

        Examples
        --------
        >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
        >>> s = simulate_interface(InterfaceOptions(shape=(4, 16)), rng=1, signal_type="EDS_TEM_ASSB").signal
        >>> profile = s.interface_profile(probe=1.5, elements=["O", "P", "Fe", "Ge"])
        >>> profile.to_dataframe()[["distance (nm)", "pixels", "Fe (atoms/nm²)"]].round(0).head(3)
           distance (nm)  pixels  Fe (atoms/nm²)
        0            0.0       4            -1.0
        1            2.0       4             0.0
        2            4.0       4             2.0
        """
        if region is not None:
            return super().to_dataframe(region, names=names)
        profile = self.found.profile
        columns: dict[str, Any] = {"distance (nm)": profile.distance, "pixels": profile.pixels.astype(int)}
        for i, element in enumerate(self.elements):
            columns[f"{element} ({profile.unit})"] = profile.amount[:, i]
            columns[f"{element} std ({profile.unit})"] = profile.std[:, i]
        return pd.DataFrame(columns)

    def compare(self, after: InterfaceProfile) -> pd.DataFrame:
        """Test whether the interface grew, and whether more lies beyond it.

        Parameters
        ----------
        after
            The same boundary in a later state, with the same direction and probe.

        Returns
        -------
        pandas.DataFrame
            One row a quantity: before, after, change with standard error (nm^2 of variance for widths), p value of a
            change, and of a growth.

        Raises
        ------
        AssbValueError
            If the probes differ: what it puts beyond the boundary would pass for migration.

        Examples
        --------
        >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
        >>> def profile(width, seed):
        ...     options = InterfaceOptions(width=width, shape=(4, 32), position=0.0)
        ...     s = simulate_interface(options, rng=seed, signal_type="EDS_TEM_ASSB").signal
        ...     return s.interface_profile(probe=1.5, elements=["O", "P", "Fe", "Ge"])
        >>> changes = profile(4.0, 1).compare(profile(12.0, 2))
        >>> changes.loc[changes.index[0], ["before", "after"]].astype(float).round(1).tolist()
        [3.9, 12.0]
        >>> bool(changes["p_grew"].iloc[0] < 0.01)
        True
        """
        changes = compare_interfaces(self.found, after.found)
        return pd.DataFrame([asdict(change) for change in changes]).set_index("what")

    def summary(self) -> str:
        """The width with its interval, what lies beyond the boundary, and the notes."""
        low, high = self.width_interval
        lines = [
            f"The 10-90 % width is {self.width:.2f} nm (68 % interval {low:.2f} to {high:.2f} nm), corrected for a "
            f"probe of {self.found.probe:.3g} nm; the boundary lies at "
            f"{with_error(self.position, self.found.common.position_std)} nm."
        ]
        lines += [
            f"{element} beyond the boundary, on the side of {'smaller' if beyond.side < 0 else 'larger'} distances: as "
            f"much as {with_error(beyond.amount, beyond.std)} nm of its rich side."
            for element, beyond in self.found.beyond.items()
        ]
        return "\n".join((*lines, *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the profiles with their fits; returns the matplotlib axes.

        Parameters
        ----------
        ax
            Matplotlib axes to draw on; None: of a new figure.

        Returns
        -------
        matplotlib.axes.Axes
            With the profiles.

        Examples
        --------
        >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
        >>> s = simulate_interface(InterfaceOptions(shape=(4, 16)), rng=1, signal_type="EDS_TEM_ASSB").signal
        >>> ax = s.interface_profile(probe=1.5, elements=["O", "Fe"]).plot()
        >>> ax.get_xlabel()
        'Distance (nm)'
        """
        from hyperspy_assb.plotting.eds import plot_interface

        return plot_interface(self, ax=ax)

    def _shown(self) -> Any:
        profile = self.found.profile
        axes = [
            {"name": "element", "size": len(self.elements), "navigate": True},
            {
                "name": "distance",
                "size": profile.distance.size,
                "scale": profile.spacing,
                "offset": profile.distance[0],
                "units": "nm",
                "navigate": False,
            },
        ]
        signal = hs.signals.Signal1D(profile.amount.T.copy(), axes=axes)
        signal.metadata.General.title = f"Interface profile ({profile.unit})"
        signal.metadata.set_item("ASSB.quantities", list(self.elements))
        return signal


def phase_share(boundary: Any, phase: str | None) -> NDArray[np.float64]:
    """Share of a phase in each pixel, from the result of ``quantify_phases`` or a boolean map: True inside the phase.

    Raises
    ------
    AssbValueError
        If the result has no such phase.
    """
    if not isinstance(boundary, EDSPhases):
        return np.asarray(getattr(boundary, "data", boundary), dtype=float)
    if phase not in boundary.phases:
        raise AssbValueError(f"phase must be one of {', '.join(boundary.phases)}, not {phase!r}.")
    return np.nan_to_num(boundary.volume_fraction[phase].data, nan=0.0)
