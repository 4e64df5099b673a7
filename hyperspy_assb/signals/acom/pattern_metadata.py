"""What the axes and the metadata of a signal say of its diffraction patterns, and writing a calibration there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.acom.crystals.kinematical import electron_wavelength
from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.acom.patterns.pattern_scan import PatternScan, known_energy
from hyperspy_assb.errors import AssbNotImplementedError, AssbValueError, see
from hyperspy_assb.models.recorded_signal import check_axis, recorded_data, recorded_number, recorded_numbers, title_of
from hyperspy_assb.signals.result import navigation_axes

_NODE = "ASSB.diffraction"
TEM = "Acquisition_instrument.TEM."
_LENGTHS = {"m": 1e3, "cm": 10.0, "mm": 1.0, "µm": 1e-3, "um": 1e-3}
"""Millimetres."""
_REACH = (0.05, 20.0)
"""What half a frame can reach in 1/Å."""
_SHORTEST_CAMERA = 10.0
"""Camera length in mm below which it is in m: no camera length is below 10 mm or above 10 m."""
_PER_ANGSTROM = ("1/Å", "Å-1", "1/A", "A-1")
_PER_NANOMETRE = ("1/nm", "nm-1")
_RECIPROCAL = (*_PER_ANGSTROM, *_PER_NANOMETRE, "mrad", "rad")
_MASKS = ("pixel_mask", "mask", "bad_pixels", "dead_pixels")
"""What readers call it in metadata, in small letters."""
HIGHEST_ENERGY = 1e4
"""Beam energy in keV above which it is in V."""


def read_geometry(signal: Any) -> PatternGeometry:
    """The calibration that a signal states.

    Parameters
    ----------
    signal
        Its two signal axes are in 1/Å or 1/nm; or in mrad, with the beam energy in the metadata; or in a unit of length
        on the camera, with beam energy and camera length. 0 of the axes is the direct beam; axes that begin with 0 do
        not know it, and it is taken to be in the middle of the frame.

    Returns
    -------
    geometry
        With ellipticity, scan rotation and errors where they have been set.

    Raises
    ------
    AssbValueError
        If an axis is not calibrated, or states a scale or a centre that cannot be; the message names it.
    AssbNotImplementedError
        If an axis is not uniform.
    """
    axes = signal.axes_manager.signal_axes
    scales = [_reciprocal_scale(signal, axis) for axis in axes]
    settings = _settings(signal)
    if scales[0] < 0:
        raise AssbValueError(
            f"The axis {axes[0].name!r} of {_title(signal)} runs backwards: a camera that shows patterns mirrored is "
            "flipped along its rows, so that only the axis of the rows may."
        )
    mirrored = bool(settings.pop("mirrored", False)) != (scales[1] < 0)
    centre = _centre(signal, axes)
    geometric = float(np.sqrt(abs(scales[0] * scales[1])))
    if abs(scales[0] / abs(scales[1]) - 1.0) > 1e-6:
        # Pixels that are not square are an ellipse along the axes.
        if settings.get("ellipticity"):
            raise AssbValueError(
                f"The axes of {_title(signal)} have two scales, and an ellipticity is set as well: give one of them."
            )
        ratio = abs(scales[1]) / scales[0]
        settings["ellipticity"] = max(ratio, 1.0 / ratio) - 1.0
        settings["ellipse_azimuth"] = 0.0 if ratio > 1.0 else np.pi / 2.0
    return PatternGeometry(scale=geometric, centre=centre, mirrored=mirrored, **settings)


def _settings(signal: Any) -> dict[str, Any]:
    """What was set of the calibration besides the axes; what another version set is left."""
    known = (
        "ellipticity",
        "ellipse_azimuth",
        "scan_rotation",
        "scale_std",
        "ellipticity_std",
    )
    found: dict[str, Any] = {}
    for name in known:
        value = recorded_number(signal, f"{_NODE}.{name}", negative=True)
        if value is not None:
            found[name] = value
    if signal.metadata.has_item(f"{_NODE}.centre_std"):
        found["centre_std"] = tuple(map(float, recorded_numbers(signal, f"{_NODE}.centre_std", 2)))
    mirrored = signal.metadata.get_item(f"{_NODE}.mirrored", False)
    if not isinstance(mirrored, bool | np.bool_):
        raise AssbValueError(f"metadata.{_NODE}.mirrored is {mirrored!r}: it is true or false.")
    found["mirrored"] = bool(mirrored)
    return found


def write_geometry(signal: Any, geometry: PatternGeometry) -> None:
    """State a calibration in the axes and the metadata of a signal."""
    for axis, name, place, sign in zip(
        signal.axes_manager.signal_axes,
        ("kx", "ky"),
        geometry.centre,
        (1.0, -1.0 if geometry.mirrored else 1.0),
        strict=True,
    ):
        axis.name = name if str(axis.name) in ("", "<undefined>") else axis.name
        axis.units = "1/Å"
        axis.scale = sign * geometry.scale
        axis.offset = -sign * geometry.scale * place
    settings = {
        "ellipticity": geometry.ellipticity,
        "ellipse_azimuth": geometry.ellipse_azimuth,
        "scan_rotation": geometry.scan_rotation,
        "scale_std": geometry.scale_std,
        "centre_std": list(geometry.centre_std),
        "ellipticity_std": geometry.ellipticity_std,
    }
    signal.metadata.set_item(_NODE, settings)


def read_scan(signal: Any, geometry: PatternGeometry | None = None, *, mask: Any = None) -> PatternScan:
    """The patterns of a signal with all that is known of how they were recorded; no metadata are read after this.

    Parameters
    ----------
    signal
        Patterns, lazy or not, with two navigation axes at most.
    geometry
        Calibration that holds instead of the one that the signal states.
    mask
        True where pixels of the detector are left out, an array or signal of the shape of a pattern; those that the
        metadata name are left out as well.

    Raises
    ------
    AssbValueError
        If there are more than two navigation axes, no patterns, or none of a real type; or the signal is not
        calibrated, and no geometry is given.
    """
    shape = signal.axes_manager._navigation_shape_in_array
    if len(shape) > 2:
        raise AssbValueError(
            f"The patterns have {len(shape)} navigation axes: index the scans of a series one by one (s.inav[..., 0])."
        )
    data = recorded_data(signal, what="pattern", unusable="number")
    whole = (*(1,) * (2 - len(shape)), *shape, *data.shape[-2:])
    return PatternScan(
        patterns=data.reshape(whole),
        geometry=read_geometry(signal) if geometry is None else geometry,
        centre_stated=any(axis.offset != 0.0 for axis in signal.axes_manager.signal_axes),
        beam_energy=_beam_energy(signal),
        precession_angle=_precession_angle(signal),
        convergence_angle=recorded_number(signal, TEM + "convergence_angle"),
        axes=tuple({**axis, "navigate": True} for axis in navigation_axes(signal)),
        title=_title(signal),
        mask=_mask(signal, mask),
    )


def _mask(signal: Any, mask: Any) -> NDArray[np.bool_] | None:
    """Pixels that the user or the reader of the file leaves out; None if none are named."""
    frame = signal.data.shape[-2:]
    found = [np.asarray(getattr(mask, "data", mask))] if mask is not None else []
    if found and (found[0].dtype != bool or found[0].shape != frame):
        raise AssbValueError(
            f"mask: booleans, True where pixels of the detector are left out, of the shape {frame} of a pattern, not "
            f"{found[0].dtype} of the shape {found[0].shape}."
        )
    for node in (signal.metadata, signal.original_metadata):
        found += [values != 0 for values in _masks_within(node.as_dictionary(), frame)]
    return np.logical_or.reduce(found) if found else None


def _masks_within(node: Any, frame: tuple[int, ...]) -> Iterator[NDArray[Any]]:
    """Arrays of the shape of a pattern that metadata call a mask; as in files of EIGER, 0 is a good pixel."""
    for key, value in node.items() if isinstance(node, dict) else ():
        if isinstance(value, dict):
            yield from _masks_within(value, frame)
        elif str(key).lower() in _MASKS:
            values = np.asarray(value)
            if values.shape == frame and values.dtype.kind in "biu":
                yield values


def _beam_energy(signal: Any) -> float | None:
    """keV; None where it is not in the metadata."""
    energy = recorded_number(signal, TEM + "beam_energy")
    if not energy:
        return None
    # Some files give it in V.
    return energy / 1e3 if energy > HIGHEST_ENERGY else energy


def _precession_angle(signal: Any) -> float | None:
    """Degrees; None where it is not in the metadata."""
    angle, rocking = (recorded_number(signal, TEM + name) for name in ("precession_angle", "rocking_angle"))
    return float(np.degrees(rocking * 1e-3)) if angle is None and rocking is not None else angle


def _reciprocal_scale(signal: Any, axis: Any) -> float:
    """1/Å a pixel, with its sign."""
    name, title = str(axis.name), _title(signal)
    what = f"The axis {name!r} of {title}"
    energy = "" if _beam_energy(signal) else ", beam_energy=..."
    option = "" if _beam_energy(signal) else " and --beam-energy"
    advice = (
        f"set the scale in 1/Å per pixel by set_diffraction_calibration(scale=...{energy}), on the command line by "
        f"--scale{option}{' (keV)' if energy else ''}. {see('acom')}"
    )
    if not axis.is_uniform:
        raise AssbNotImplementedError(f"{what} is not uniform: patterns with such axes are not supported.")
    check_axis(axis, f"axis {name!r} of {title}")
    units = str(axis.units)
    _not_exchanged(signal, title)
    plain = _plain_units(units)
    if plain in _PER_ANGSTROM:
        scale = float(axis.scale)
    elif plain in _PER_NANOMETRE:
        scale = float(axis.scale) / 10.0
    elif plain in ("mrad", "rad"):
        angle = float(axis.scale) * (1e-3 if plain == "mrad" else 1.0)
        scale = angle / electron_wavelength(known_energy(_beam_energy(signal), title))
    elif plain in _LENGTHS:
        angle = float(axis.scale) * _LENGTHS[plain] / _camera_length(signal, what, advice)
        scale = angle / electron_wavelength(known_energy(_beam_energy(signal), title))
    else:
        raise AssbValueError(f"{what} is not calibrated (scale {axis.scale:g}, units {units!r}): {advice}")
    if plain in (*_PER_NANOMETRE, *_PER_ANGSTROM) and abs(float(axis.scale)) == 1.0:
        raise AssbValueError(
            f"{what} states exactly 1 {units} per pixel, which programs write when the scale is unknown: {advice}"
        )
    reach = abs(scale) * axis.size / 2.0
    if not _REACH[0] <= reach <= _REACH[1]:
        raise AssbValueError(
            f"{what} states {axis.scale:g} {units} per pixel, so that half the frame is {reach:.3g} 1/Å wide, which "
            f"is impossible for a diffraction pattern: {advice}"
        )
    return scale


def _plain_units(units: str) -> str:
    plain = re.sub(r"\\mathrm|[\s${}^_\\()]", "", units).replace("⁻¹", "-1").replace("\u212b", "Å")
    return re.sub("[Aa]ngstroms?", "Å", plain)


def _not_exchanged(signal: Any, title: str) -> None:
    """Refuse patterns whose axes are those of the scan."""
    axes = signal.axes_manager
    of_scan, of_pattern = (
        [_plain_units(str(axis.units)) in _RECIPROCAL for axis in group]
        for group in (axes.navigation_axes, axes.signal_axes)
    )
    if len(of_scan) == 2 and all(of_scan) and not any(of_pattern):
        raise AssbValueError(
            f"The axes of {title} are exchanged: its navigation axes are in {axes.navigation_axes[0].units}, a unit "
            "of diffraction patterns. Transpose it: s = s.T."
        )


def _camera_length(signal: Any, what: str, advice: str) -> float:
    """Millimetres."""
    length = recorded_number(signal, TEM + "camera_length")
    if not length:
        raise AssbValueError(
            f"{what} is in a unit of length, but the camera length is missing in the metadata: {advice}"
        )
    # HyperSpy has it in mm, block files in m.
    return length * (1e3 if length < _SHORTEST_CAMERA else 1.0)


def _centre(signal: Any, axes: Any) -> tuple[float, float]:
    if all(axis.offset == 0.0 for axis in axes):
        return (axes[0].size - 1) / 2.0, (axes[1].size - 1) / 2.0
    found = []
    for axis in axes:
        place = -float(axis.offset) / float(axis.scale)
        if not -0.5 <= place <= axis.size - 0.5:
            raise AssbValueError(
                f"The axis {axis.name!r} of {_title(signal)} puts the direct beam at pixel {place:.4g}, outside of the "
                f"frame of {axis.size} pixels: set_diffraction_calibration(centre=...) gives its column and row."
            )
        found.append(place)
    return found[0], found[1]


def _title(signal: Any) -> str:
    return title_of(signal, "the signal")
