"""Profiles of an X-ray map across an interface."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import quantify_elements
from hyperspy_assb.eds.interfaces.interface_changes import compare_interfaces
from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit, fit_interface
from hyperspy_assb.eds.interfaces.profiles import bin_pixels, profile_of
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.signals.eds.compositions import EDSPhases
from hyperspy_assb.signals.eds.eds_files import EDSResult
from hyperspy_assb.signals.eds.quantification import methods_of, prepare
from hyperspy_assb.signals.eds.setup import Settings

TILT = (
    "A boundary that is tilted against the beam looks as wide as the thickness times the tangent of the tilt: a width "
    "is an upper limit of diffusion unless the boundary stands edge-on."
)


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
            columns[f"{element} std (atoms/nm²)"] = np.sqrt(profile.covariance[:, i, i])
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
        if not np.isclose(self.found.probe, after.found.probe, rtol=0.05, atol=1e-3):
            raise ValueError(
                f"The probe was {self.found.probe:g} nm before and {after.found.probe:g} nm after: amounts beyond the "
                "boundary cannot be compared. Record both states with one probe."
            )
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


def _scales(signal: Any) -> tuple[NDArray[np.float64], float]:
    """Pixel size along rows and columns in nm."""
    axes = signal.axes_manager.navigation_axes[::-1]
    if not axes:
        raise ValueError("A profile needs a map or a line of spectra, not a single spectrum.")
    factor = {"nm": 1.0, "µm": 1e3, "um": 1e3, "Å": 0.1, "A": 0.1, "pm": 1e-3}
    units = {str(axis.units) for axis in axes}
    if len(units) != 1 or not units <= set(factor):
        raise ValueError(
            f"The navigation axes are in {', '.join(sorted(units))}: set scale and units (nm, µm or Å) of both."
        )
    unit = factor[units.pop()]
    return np.array([axis.scale * unit for axis in axes], dtype=float), unit


def distance_along(signal: Any, line: Any) -> NDArray[np.float64]:
    """Distance of every pixel along a drawn line in nm, NaN beside it; shape of the navigation axes.

    Parameters
    ----------
    signal
        Map.
    line
        HyperSpy's Line2DROI; its ``linewidth`` is the width of the strip, 0 takes one pixel.
    """
    scales, unit = _scales(signal)
    offsets = np.array([axis.offset * unit for axis in signal.axes_manager.navigation_axes[::-1]])
    shape = signal.axes_manager._navigation_shape_in_array
    if len(shape) != 2:
        raise ValueError("A line can be drawn on a map; this signal has no two navigation axes.")
    y, x = (offset + scale * index for offset, scale, index in zip(offsets, scales, np.indices(shape), strict=True))
    start = np.array([line.x1, line.y1], dtype=float) * unit
    end = np.array([line.x2, line.y2], dtype=float) * unit
    length = float(np.hypot(*(end - start)))
    if not length > 0.0:
        raise ValueError("The line has no length.")
    along = ((x - start[0]) * (end - start)[0] + (y - start[1]) * (end - start)[1]) / length
    across = ((y - start[1]) * (end - start)[0] - (x - start[0]) * (end - start)[1]) / length
    half = 0.5 * max(float(line.linewidth) * unit, float(np.max(np.abs(scales))))
    # Half a thousandth of a pixel for what rounding does to pixels on the edge.
    slack = 5e-4 * float(np.max(np.abs(scales)))
    inside = (along >= -slack) & (along <= length + slack) & (np.abs(across) <= half + slack)
    return np.where(inside, along, np.nan)


def distance_to_boundary(
    signal: Any, phases: EDSPhases | NDArray[np.bool_] | Any, phase: str | None, smooth: float
) -> NDArray[np.float64]:
    """Distance of every pixel to a phase boundary in nm, positive inside the phase.

    Parameters
    ----------
    signal
        Map.
    phases
        Result of ``quantify_phases``, or a boolean map: True inside the phase.
    phase
        Name of the phase, for a result.
    smooth
        Standard deviation in pixels over which the map is smoothed before its boundary is drawn.
    """
    scales, _ = _scales(signal)
    if isinstance(phases, EDSPhases):
        if phase not in phases.phases:
            raise ValueError(f"phase must be one of {', '.join(phases.phases)}, not {phase!r}.")
        inside = np.nan_to_num(phases.volume_fraction[phase].data, nan=0.0)
    else:
        inside = np.asarray(getattr(phases, "data", phases), dtype=float)
    shape = signal.axes_manager._navigation_shape_in_array
    if inside.shape != shape:
        raise ValueError(f"The map of the phase has the shape {inside.shape}, but the navigation axes have {shape}.")
    # The level of the smoothed share runs between pixels: distances follow it, and not the steps of pixels.
    share = ndimage.gaussian_filter(inside, smooth)
    mask = share > 0.5
    if mask.all() or not mask.any():
        raise ValueError("The phase fills the map, or none of it: there is no boundary.")
    outer = ndimage.distance_transform_edt(~mask, sampling=np.abs(scales))
    inner = ndimage.distance_transform_edt(mask, sampling=np.abs(scales))
    half = 0.5 * float(np.min(np.abs(scales)))
    return np.where(mask, inner - half, half - outer)


def profile_across(
    signal: Any,
    settings: Settings,
    *,
    line: Any = None,
    boundary: Any = None,
    phase: str | None = "olivine",
    probe: float,
    bin_width: float | None = None,
    reach: float | None = None,
    smooth: float = 2.0,
    elements: Sequence[str] | None = None,
) -> InterfaceProfile:
    """What :meth:`ASSBEDSTEMSpectrum.interface_profile` does."""
    if line is not None and boundary is not None:
        raise ValueError("Give line or boundary, not both.")
    scales, _ = _scales(signal)
    if line is not None:
        distance = distance_along(signal, line)
    elif boundary is not None:
        distance = distance_to_boundary(signal, boundary, phase, smooth)
    else:
        columns = signal.axes_manager._navigation_shape_in_array
        distance = np.broadcast_to(np.arange(columns[-1]) * abs(scales[-1]), columns).astype(float)
    if reach is not None:
        middle = 0.0 if boundary is not None else 0.5 * (np.nanmin(distance) + np.nanmax(distance))
        distance = np.where(np.abs(distance - middle) <= reach, distance, np.nan)
    width = float(np.min(np.abs(scales))) if bin_width is None else float(bin_width)
    bins, members = bin_pixels(distance, width)
    scene, spectra, findings, parameters = prepare(signal, settings)
    total = np.zeros((len(members), spectra._shape[-1]))
    for part, block in spectra.blocks():
        used = bins[part] >= 0
        np.add.at(total, bins[part][used], block[used].astype(float))
    # One bin is a larger part of all counts than one pixel; the continuum is still that of the whole map.
    exposure = np.array([float(m.size) for m in members])
    found = quantify_elements(scene, total, exposure=exposure)
    wanted = [el for el in (elements or CELL_ELEMENTS) if el in found.elements]
    fit = fit_interface(profile_of(found.subset(wanted), members), probe=probe)
    findings = [TILT, *findings]
    if boundary is not None:
        findings.append(
            "The boundary was drawn on the map itself: what smoothing and noise do to it adds to the width."
        )
    if fit.common.p_fit < 1e-3:
        told = (
            f"Error functions of one position and width do not describe the profile (p = {fit.common.p_fit:.1e}): "
            "elements differ, or the interface is of another shape; see the widths of each element."
        )
        warnings.warn(told, UserWarning, stacklevel=3)
        findings.append(told)
    if fit.common.variance + 4.0 * fit.common.variance_std < 0.0:
        told = (
            f"The profile is narrower than a probe of {probe:g} nm (full width at half maximum) can make it: the width "
            "says nothing before the probe is known."
        )
        warnings.warn(told, UserWarning, stacklevel=3)
        findings.append(told)
    parameters |= {
        "probe": probe,
        "bin_width": width,
        "by": "line" if line is not None else "boundary" if boundary is not None else "columns",
    }
    record = provenance.record(
        "interface_profile", parameters=parameters, methods=(*methods_of(parameters), "lmfit", "scipy")
    )
    return InterfaceProfile((), record, tuple(findings), fit)
