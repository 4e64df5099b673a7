"""The interface in an X-ray map: from its pixels to widths."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from hyperspy_assb import provenance
from hyperspy_assb.eds.composition.atoms import quantify_elements
from hyperspy_assb.eds.composition.map_analysis import Analysis, prepare_map
from hyperspy_assb.eds.eds_map import EDSMap, EDSOptions, FloatArray
from hyperspy_assb.eds.interfaces.interface_width import InterfaceFit, fit_interface
from hyperspy_assb.eds.interfaces.profiles import (
    Strip,
    bin_pixels,
    distance_along,
    distance_to_boundary,
    profile_of,
)
from hyperspy_assb.eds.lines.column_spectra import make_builder
from hyperspy_assb.eds.lines.sensitivity import COUNTS, count_main_lines
from hyperspy_assb.eds.lines.x_ray_lines import CELL_ELEMENTS
from hyperspy_assb.errors import AssbWarning

_TILT = (
    "A boundary that is tilted against the beam looks as wide as the thickness times the tangent of the tilt: a width "
    "is an upper limit of diffusion unless the boundary stands edge-on."
)
_DRAWN = "The boundary was drawn on the map itself: smoothing and noise of the boundary add to the width."
_POOR_FIT = 1e-3
"""p value below which error functions of one position and width do not describe a profile."""
_NARROWER = 4.0
"""Standard errors by which a variance below 0 is more than noise."""


@dataclass(frozen=True, eq=False)
class ProfileOptions:
    """How pixels become a profile.

    Parameters
    ----------
    bin_width
        nm; None: one pixel.
    smooth
        Standard deviation in pixels over which the share of a phase is smoothed before its boundary is drawn.

    Examples
    --------
    >>> from hyperspy_assb.eds.interfaces.map_interface import ProfileOptions
    >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
    >>> scene = simulate_interface(InterfaceOptions(width=8.0, shape=(4, 32)), rng=1, signal_type="EDS_TEM_ASSB")
    >>> bins = ProfileOptions(bin_width=3.0)
    >>> profile = scene.signal.interface_profile(probe=1.5, elements=["O", "P", "Fe", "Ge"], options=bins)
    >>> profile.provenance["parameters"]["bin_width"]
    3.0
    """

    bin_width: float | None = None
    smooth: float = 2.0


@dataclass(frozen=True, eq=False)
class ProfilePlace:
    """Where a profile is taken. With neither strip nor share it runs along the columns of the map or a line scan.

    Parameters
    ----------
    probe
        Full width at half maximum of the probe in nm.
    strip
        Across the interface.
    share
        Of the phase whose boundary is meant, in each pixel.
    reach
        Distance in nm from the boundary, or from the middle of the profile, up to which pixels are used; None: all.
    elements
        Elements of the profile; None: those of the cell.
    """

    probe: float
    strip: Strip | None = None
    share: FloatArray | None = None
    reach: float | None = None
    elements: tuple[str, ...] | None = None


def interface_of_map(
    recorded: EDSMap, settings: EDSOptions, place: ProfilePlace, options: ProfileOptions
) -> Analysis[InterfaceFit]:
    """Fit error functions to the elements across an interface in a map.

    Errors and warnings are those of :func:`.prepare_map` and :func:`.fit_interface`.

    Warns
    -----
    AssbWarning
        If error functions of one width do not describe the profile, or it is narrower than the probe can make it.
    """
    scales, _ = recorded.pixel_size()
    distance = _distance(recorded, place, options.smooth, float(abs(scales[-1])))
    width = float(np.min(np.abs(scales))) if options.bin_width is None else float(options.bin_width)
    bins, members = bin_pixels(distance, width)
    counted = recorded.bulk or (isinstance(settings.k_factors, str) and settings.k_factors == COUNTS)
    if counted:
        lines = make_builder(recorded, replace(settings, absorption=False), need_factors=False).seen
        factors = count_main_lines(lines, recorded.instrument.beam_energy)
        settings = replace(settings, k_factors=factors, zeta_factors=None, absorption=False)
    prepared = prepare_map(recorded, settings)
    total = recorded.spectra.summed_by(bins, len(members))
    # One bin is a larger part of all counts than one pixel; the continuum is still that of the whole map.
    found = quantify_elements(prepared.scene, total, exposure=np.array([float(m.size) for m in members]))
    wanted = [el for el in (place.elements or CELL_ELEMENTS) if el in found.elements]
    profile = profile_of(found.subset(wanted), members)
    if counted:
        profile = replace(profile, unit="counts of the main line")
    fit = fit_interface(profile, probe=place.probe)
    told = _told(fit)
    for text in told:
        warnings.warn(text, AssbWarning, stacklevel=3)
    by = "line" if place.strip is not None else "boundary" if place.share is not None else "columns"
    record = provenance.record(
        "interface_profile",
        parameters={**prepared.parameters, "probe": place.probe, "bin_width": width, "by": by},
        methods=(*prepared.methods, "lmfit", "scipy"),
    )
    return Analysis(fit, (_TILT, *prepared.notes, *([_DRAWN] if by == "boundary" else ()), *told), record)


def _distance(recorded: EDSMap, place: ProfilePlace, smooth: float, column: float) -> FloatArray:
    """Distance of every pixel in nm, NaN where it is left out."""
    if place.strip is not None:
        distance = distance_along(recorded, place.strip)
    elif place.share is not None:
        distance = distance_to_boundary(recorded, place.share, smooth)
    else:
        distance = np.broadcast_to(np.arange(recorded.shape[-1]) * column, recorded.shape).astype(float)
    if place.reach is None:
        return distance
    middle = 0.0 if place.share is not None else 0.5 * (np.nanmin(distance) + np.nanmax(distance))
    return np.where(np.abs(distance - middle) <= place.reach, distance, np.nan)


def _told(fit: InterfaceFit) -> list[str]:
    """In words, what is wrong with a fit."""
    told = []
    if fit.common.p_fit < _POOR_FIT:
        told.append(
            f"Error functions of one position and width do not describe the profile (p < {_POOR_FIT:g}): "
            "elements differ, or the interface is of another shape; see the widths of each element."
        )
    if fit.common.variance + _NARROWER * fit.common.variance_std < 0.0:
        told.append(
            f"The profile is narrower than a probe of {fit.probe:g} nm (full width at half maximum) can make it: the "
            "width says nothing before the probe is known."
        )
    return told
