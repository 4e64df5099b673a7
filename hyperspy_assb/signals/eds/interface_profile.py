"""Profiles of an X-ray map across an interface."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb.eds.interfaces.interface_changes import compare_interfaces
from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit
from hyperspy_assb.signals.eds.compositions import EDSPhases
from hyperspy_assb.signals.eds.eds_files import EDSResult


@dataclass(frozen=True, eq=False)
class InterfaceProfile(EDSResult):
    """Elements across an interface, and how wide it is.

    Parameters
    ----------
    found
        Profile and fits, as arrays; see :class:`~hyperspy_assb.eds.interfaces.interface_width.InterfaceFit`.
    unit
        Of distances.
    """

    node: ClassVar[str] = "eds_interface"
    found: InterfaceFit = field(repr=False)
    unit: str = "nm"

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

    def to_dataframe(self) -> pd.DataFrame:
        """One row a bin: distance, number of pixels, and atoms/nm^2 of each element with its standard error."""
        profile = self.found.profile
        columns: dict[str, Any] = {"distance (nm)": profile.distance, "pixels": profile.pixels.astype(int)}
        for i, element in enumerate(self.elements):
            columns[f"{element} (atoms/nm²)"] = profile.amount[:, i]
            columns[f"{element} std (atoms/nm²)"] = profile.std[:, i]
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
        ValueError
            If the probes differ: what it puts beyond the boundary would pass for migration.
        """
        changes = compare_interfaces(self.found, after.found)
        return pd.DataFrame([asdict(change) for change in changes]).set_index("what")

    def plot(self, ax: Any = None) -> Any:
        """Plot the profiles with their fits; returns the matplotlib axes."""
        from hyperspy_assb.plotting.eds import plot_interface

        return plot_interface(self, ax=ax)

    def _shown(self) -> Any:
        import hyperspy.api as hs

        profile = self.found.profile
        axes = [
            {"name": "element", "size": len(self.elements), "navigate": True},
            {
                "name": "distance",
                "size": profile.distance.size,
                "scale": profile.spacing,
                "offset": profile.distance[0],
                "units": self.unit,
                "navigate": False,
            },
        ]
        signal = hs.signals.Signal1D(profile.amount.T.copy(), axes=axes)
        signal.metadata.General.title = "Interface profile (atoms/nm²)"
        signal.metadata.set_item("ASSB.quantities", list(self.elements))
        signal.metadata.set_item("ASSB.provenance", self.record)
        return signal


def load_interface_profile(path: str | Path) -> InterfaceProfile:
    """Load what :meth:`InterfaceProfile.save` wrote."""
    return InterfaceProfile._load(path)


def phase_share(boundary: Any, phase: str | None) -> NDArray[np.float64]:
    """Share of a phase in each pixel, from the result of ``quantify_phases`` or a boolean map: True inside the phase.

    Raises
    ------
    ValueError
        If the result has no such phase.
    """
    if not isinstance(boundary, EDSPhases):
        return np.asarray(getattr(boundary, "data", boundary), dtype=float)
    if phase not in boundary.phases:
        raise ValueError(f"phase must be one of {', '.join(boundary.phases)}, not {phase!r}.")
    return np.nan_to_num(boundary.volume_fraction[phase].data, nan=0.0)
