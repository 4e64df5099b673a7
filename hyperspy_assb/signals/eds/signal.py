"""The EDX signal of all-solid-state batteries.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from exspy.signals import EDSTEMSpectrum, LazyEDSTEMSpectrum

from hyperspy_assb.eds.comparison.composition_change import CompositionOptions, Reference, compare_maps
from hyperspy_assb.eds.composition.atoms import quantify_map
from hyperspy_assb.eds.eds_map import Settings
from hyperspy_assb.eds.interfaces.map_interface import ProfileOptions, interface_of_map
from hyperspy_assb.eds.interfaces.profiles import Strip
from hyperspy_assb.eds.lines.axis_check import EnergyCalibration, find_calibration
from hyperspy_assb.eds.lines.sensitivity import Factors
from hyperspy_assb.eds.phases.stoichiometry import PhaseOptions, phases_of_map
from hyperspy_assb.signals.eds.composition_comparison import CompositionComparison
from hyperspy_assb.signals.eds.compositions import EDSComposition, EDSPhases
from hyperspy_assb.signals.eds.interface_profile import InterfaceProfile, phase_share
from hyperspy_assb.signals.eds.line_counts import BatteryLines, LineCounts, line_counts, prepare_lines
from hyperspy_assb.signals.eds.map_reading import BULK, DEFAULTS, EDS, TEM, read_map, units_per_keV
from hyperspy_assb.signals.loading import as_type, load_signal, named_x_ray_spectra
from hyperspy_assb.signals.region_mask import region_mask

_DEFAULTED = {
    "tilt_stage": TEM + "Stage.tilt_alpha",
    "elevation_angle": EDS + "elevation_angle",
    "azimuth_angle": EDS + "azimuth_angle",
    "energy_resolution_MnKa": EDS + "energy_resolution_MnKa",
}


class ASSBEDSTEMSpectrum(EDSTEMSpectrum):
    """X-ray spectra of all-solid-state batteries in a (S)TEM.

    Any EDS signal becomes one by ``s.set_signal_type("EDS_TEM_ASSB")`` or ``hs.load(..., signal_type="EDS_TEM_ASSB")``;
    data, axes and metadata stay as they are, and every method of :class:`exspy.signals.EDSTEMSpectrum` works. What this
    package notes about a signal is kept in its metadata, under the node ``ASSB``.
    """

    _signal_type = "EDS_TEM_ASSB"
    _alias_signal_types: ClassVar[list[str]] = []

    # ------------------------------------------------------------------ exspy

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        known = getattr(self, "_metadata", None)
        from_sem = known is not None and "Acquisition_instrument.SEM.Detector.EDS" in known
        # exspy takes what is known of an SEM for that of a TEM.
        super().__init__(*args, **kwargs)
        if from_sem:
            self.metadata.set_item(BULK, True)

    def _set_default_param(self) -> None:
        """exspy's defaults, with a note of what was not in the file; exspy also resets the signal type, this
        does not."""
        invented = [name for name, item in _DEFAULTED.items() if item not in self.metadata]
        super()._set_default_param()
        self.metadata.Signal.signal_type = self._signal_type
        if invented:
            noted = self.metadata.get_item(DEFAULTS, None) or []
            self.metadata.set_item(DEFAULTS, sorted({*noted, *invented}))

    def set_microscope_parameters(self, *args: Any, **kwargs: Any) -> Any:
        """Set microscope parameters, as :meth:`exspy.signals.EDSTEMSpectrum.set_microscope_parameters` does."""
        result = super().set_microscope_parameters(*args, **kwargs)
        noted = self.metadata.get_item(DEFAULTS, None)
        if noted:
            left = [name for name in noted if kwargs.get(name) is None]
            self.metadata.set_item(DEFAULTS, left)
        return result

    @contextmanager
    def _as_exspy(self) -> Any:
        """While exspy's methods look at the signal type by name, it is theirs."""
        self.metadata.Signal.signal_type = "EDS_TEM"
        try:
            yield
        finally:
            self.metadata.Signal.signal_type = self._signal_type

    def get_take_off_angle(self) -> float:
        """Angle in degrees between the specimen and the way to the detector, as exspy computes it."""
        with self._as_exspy():
            return super().get_take_off_angle()

    def _get_line_energy(self, Xray_line: str, FWHM_MnKa: Any = None) -> Any:
        if FWHM_MnKa == "auto":
            FWHM_MnKa = self.metadata.get_item(_DEFAULTED["energy_resolution_MnKa"])
        return super()._get_line_energy(Xray_line, FWHM_MnKa)

    # ------------------------------------------------------------------ lines

    def prepare_battery_lines(
        self, elements: Sequence[str] | None = None, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> BatteryLines:
        """Set the elements and lines of the cell, and tell which of them overlap.

        Parameters
        ----------
        elements
            Elements of the specimen; by default those of the cell (C, O, Al, P, V, Fe, Ge) and of its preparation (Si,
            Cu, Ga, Pt, Au).
        add, remove
            Elements to add to these, or leave out.

        Returns
        -------
        BatteryLines
            Tables of lines and overlaps. The metadata hold the elements and the lines from now on.

        Raises
        ------
        ValueError
            If an element is not known, or the energy resolution or beam energy is missing.

        Warns
        -----
        UserWarning
            If no line of an element lies in the range.
        """
        return prepare_lines(self, elements, add, remove)

    def fit_line_counts(
        self, xray_lines: Sequence[str] | None = None, *, fit_range: tuple[float, float] | None = None
    ) -> LineCounts:
        """Count the photons of every line in every pixel, overlapping lines together.

        The Gaussians are those of exspy's model (:meth:`create_model`), families tied; the continuum has the shape that
        the sum of all spectra tells, and its own strength in every pixel. Poisson likelihood, counts not below 0.

        Parameters
        ----------
        xray_lines
            Main lines, such as ["Fe_Ka", "Fe_La"]; by default those of the metadata.
        fit_range
            keV; 0.18 to 15 by default.

        Returns
        -------
        LineCounts
            Counts with standard errors, and exspy's model with them filled in.

        Raises
        ------
        ValueError
            If a line lies beyond the axis, counts are negative, or all spectra are empty.
        """
        return line_counts(self, xray_lines, fit_range)

    def check_energy_calibration(self, *, fit_range: tuple[float, float] | None = None) -> EnergyCalibration:
        """Find from the lines of the summed spectrum how far the energy axis and the resolution are off.

        Parameters
        ----------
        fit_range
            keV; 0.18 to 15 by default.

        Returns
        -------
        EnergyCalibration
            Offset, gain and resolution with errors, the shift of every line, and notes in words.

        Raises
        ------
        ValueError
            If fewer than two lines stand out.
        """
        return find_calibration(read_map(self, need_angle=False), Settings(fit_range=fit_range, absorption=False))

    def correct_energy_calibration(self, *, resolution: bool = True) -> EnergyCalibration:
        """Correct the energy axis, and the resolution in the metadata, by the lines of the summed spectrum.

        Parameters
        ----------
        resolution
            Whether the energy resolution is corrected as well.

        Returns
        -------
        EnergyCalibration
            What was found before the correction.

        Raises
        ------
        ValueError
            If the lines that were found are not where the counts are; nothing is changed.
        """
        found = self.check_energy_calibration()
        if not found.trusted:
            raise ValueError(f"{found.notes[0]} Nothing was changed.")
        axis = self.axes_manager.signal_axes[0]
        axis.offset, axis.scale = found.corrected(axis.offset, axis.scale, per_keV=units_per_keV(self))
        if resolution:
            self.set_microscope_parameters(energy_resolution_MnKa=found.resolution)
        return found

    # ---------------------------------------------------------- quantification

    def quantify_composition(
        self,
        *,
        k_factors: Factors = None,
        zeta_factors: Mapping[str, float] | str | None = None,
        thickness: float | None = None,
        absorption: bool = True,
        elements: Sequence[str] | None = None,
        fit_range: tuple[float, float] | None = None,
    ) -> EDSComposition:
        """Count the atoms of each element in every pixel, from the whole spectrum.

        All lines of an element that have a factor are fitted together, with absorption in the specimen, in one fit by
        Poisson likelihood. :meth:`quantification` is exspy's, from counts of one line for each element
        (:meth:`fit_line_counts`).

        Parameters
        ----------
        k_factors
            Cliff-Lorimer factors by line, in weight, or a table in a file (columns line, factor, uncertainty); None:
            computed from ionisation cross-sections and fluorescence yields, which the result says.
        zeta_factors
            Zeta factors in kg/m^2, or a table in a file.
        thickness
            Mean thickness in nm, on which absorption and the scale of amounts rest; None: beam current, live time and
            solid angle of the metadata tell it.
        absorption
            Whether the specimen absorbs X-rays.
        elements
            Elements that are looked for; None: those of the cell, of the preparation and of the metadata.
        fit_range
            keV; 0.18 to 15 by default.

        Returns
        -------
        EDSComposition
            Atoms/nm^2 and atomic per cent with uncertainties.

        Raises
        ------
        ValueError
            If resolution, take-off angle, live time or the factor of an element is missing; counts are negative; or
            the map is empty.

        Warns
        -----
        UserWarning
            If the energy axis is off, or exspy's defaults stand in for what the file did not say.
        """
        settings = self._settings(k_factors, zeta_factors, thickness, absorption, elements, fit_range)
        recorded = read_map(self, need_angle=absorption)
        return EDSComposition(**vars(quantify_map(recorded, settings)), axes=recorded.axes)

    def quantify_phases(
        self,
        phases: Mapping[str, str] | Sequence[str] | None = None,
        *,
        k_factors: Factors = None,
        zeta_factors: Mapping[str, float] | str | None = None,
        thickness: float | None = None,
        absorption: bool = True,
        densities: Mapping[str, float] | None = None,
        elements: Sequence[str] | None = None,
        fit_range: tuple[float, float] | None = None,
        options: PhaseOptions | None = None,
    ) -> EDSPhases:
        """Fit every spectrum as a non-negative mixture of phases of known stoichiometry.

        Parameters
        ----------
        phases
            Names, and the material of :data:`hyperspy_assb.materials` of each, or the latter alone; None: olivine
            (LiFePO4 and FePO4, which have the same X-ray lines), LAGP, Li3V2(PO4)3 and carbon.
        k_factors, zeta_factors, thickness, absorption, elements, fit_range
            As in :meth:`quantify_composition`.
        densities
            g/cm^3 of phases whose density is not that of the reference table, such as {"carbon": 2.0}.
        options
            Levels of the flags, and phases and densities where these are not given.

        Returns
        -------
        EDSPhases
            Fractions with uncertainties, and whether the phases explain each pixel.

        Raises
        ------
        ValueError
            As in :meth:`quantify_composition`, if a density is not above 0, or if two phases have the same elements in
            the same proportions.
        UnknownReferenceError
            If a phase is not in the reference tables.

        Warns
        -----
        UserWarning
            If the phases do not explain the map as a whole, or one pixel in fifty and more, and as in
            :meth:`quantify_composition`.
        """
        options = options or PhaseOptions()
        if phases is not None and not isinstance(phases, Mapping):
            phases = {name: name for name in phases}
        chosen = dict(options.phases if phases is None else phases)
        own = {**{k: v for k, v in options.densities if k in chosen}, **(densities or {})}
        options = replace(options, phases=tuple(chosen.items()), densities=tuple(own.items()))
        if elements is not None:
            elements = (*_named(elements), *options.elements())
        settings = self._settings(k_factors, zeta_factors, thickness, absorption, elements, fit_range)
        recorded = read_map(self, need_angle=absorption)
        return EDSPhases(**vars(phases_of_map(recorded, settings, options)), axes=recorded.axes)

    def interface_profile(
        self,
        line: Any = None,
        *,
        boundary: Any = None,
        phase: str = "olivine",
        probe: float,
        bin_width: float | None = None,
        reach: float | None = None,
        smooth: float = 2.0,
        k_factors: Factors = None,
        zeta_factors: Mapping[str, float] | str | None = None,
        thickness: float | None = None,
        absorption: bool = True,
        elements: Sequence[str] | None = None,
        fit_range: tuple[float, float] | None = None,
    ) -> InterfaceProfile:
        """Fit error functions to the elements across an interface, with the width of the probe taken out.

        Of a map that was recorded in an SEM, or with ``k_factors="counts"``, amounts are counts of main lines.

        Parameters
        ----------
        line
            HyperSpy's ``Line2DROI`` across the interface; its width is the width of the strip. With neither line nor
            boundary, the profile runs along the columns of the map, or along a line scan.
        boundary
            Result of :meth:`quantify_phases`, or a boolean map (True: inside the phase): the profile is a function of
            the distance to this boundary, positive inside.
        phase
            Name of the phase whose boundary is meant.
        probe
            Full width at half maximum of the probe in nm.
        bin_width
            nm; one pixel by default.
        reach
            Distance in nm from the boundary, or from the middle of the line, up to which pixels are used.
        smooth
            Standard deviation in pixels over which the phase is smoothed before its boundary is drawn.
        k_factors, zeta_factors, thickness, absorption, fit_range
            As in :meth:`quantify_composition`.
        elements
            Elements of the profile; those of the cell by default.

        Returns
        -------
        InterfaceProfile
            Widths with intervals, what lies beyond the boundary, and :meth:`InterfaceProfile.compare` for two states.

        Raises
        ------
        ValueError
            If there are fewer than eight bins, no element differs between the sides, or the axes have no length unit.

        Warns
        -----
        UserWarning
            If error functions of one width do not describe the profile.
        """
        if line is not None and boundary is not None:
            raise ValueError("Give line or boundary, not both.")
        options = ProfileOptions(
            probe=probe,
            strip=None if line is None else Strip((line.x1, line.y1), (line.x2, line.y2), float(line.linewidth)),
            share=None if boundary is None else phase_share(boundary, phase),
            smooth=smooth,
            bin_width=bin_width,
            reach=reach,
            elements=_named(elements),
        )
        settings = self._settings(k_factors, zeta_factors, thickness, absorption, None, fit_range)
        analysis = interface_of_map(read_map(self, need_angle=absorption), settings, options)
        return InterfaceProfile(**vars(analysis))

    def compare_composition(
        self,
        after: ASSBEDSTEMSpectrum,
        *,
        images: tuple[Any, Any] | None = None,
        unchanged: Any = None,
        options: CompositionOptions | None = None,
        k_factors: Factors = None,
        zeta_factors: Mapping[str, float] | str | None = None,
        thickness: float | None = None,
        absorption: bool = True,
        elements: Sequence[str] | None = None,
        fit_range: tuple[float, float] | None = None,
    ) -> CompositionComparison:
        """Compare the composition of this map with that of a later one of the same region.

        The later map is brought onto this one by what did not change: tiles of the map that another shift suits better
        have changed, and do not count. Where shift and change explain each other, as with a single boundary in the
        field, the result says so and holds both readings (``other_reading``).

        Parameters
        ----------
        after
            The later state, with as many pixels of the same size.
        images
            Two images of the field, before and after, such as HAADF recorded with the maps: these are registered in
            place of the maps. Arrays or signals, of any number of pixels.
        unchanged
            Pixels in which nothing changed, on which alone the maps are registered: a boolean array or signal on the
            navigation axes, or a HyperSpy ROI.
        options
            Blocks of pixels, registration, false discovery rate.
        k_factors, zeta_factors, thickness, absorption, elements, fit_range
            As in :meth:`quantify_composition`, for both states.

        Returns
        -------
        CompositionComparison
            Differences with standard errors, and where they are more than noise.

        Raises
        ------
        ValueError
            If the maps differ in shape, pixel size or beam energy, or cannot be registered.

        Warns
        -----
        AssbWarning
            If shift and change explain each other, and as in :meth:`quantify_composition`.
        """
        if not isinstance(after, ASSBEDSTEMSpectrum):
            raise TypeError("after must be an EDX signal as well: set_signal_type('EDS_TEM_ASSB').")
        settings = self._settings(k_factors, zeta_factors, thickness, absorption, elements, fit_range)
        maps = [read_map(signal, need_angle=absorption) for signal in (self, after)]
        where = None if unchanged is None else region_mask(self, unchanged, name="unchanged")
        reference = Reference(
            images=None if images is None else tuple(np.asarray(getattr(i, "data", i), dtype=float) for i in images),
            unchanged=None if where is None else np.atleast_2d(where),
        )
        analysis = compare_maps(*maps, settings, options or CompositionOptions(), reference)
        return CompositionComparison(**vars(analysis), axes=analysis.found.axes(maps[0].axes))

    # ----------------------------------------------------------------- private

    @staticmethod
    def _settings(
        k_factors: Factors,
        zeta_factors: Any,
        thickness: float | None,
        absorption: bool,
        elements: Sequence[str] | None,
        fit_range: tuple[float, float] | None,
    ) -> Settings:
        return Settings(k_factors, zeta_factors, thickness, absorption, fit_range, _named(elements))


def _named(elements: Sequence[str] | None) -> tuple[str, ...] | None:
    """Elements that a user named, one or several."""
    return None if elements is None else (elements,) if isinstance(elements, str) else tuple(elements)


class LazyASSBEDSTEMSpectrum(ASSBEDSTEMSpectrum, LazyEDSTEMSpectrum):
    """X-ray spectra of all-solid-state batteries that stay on disk until they are needed."""


def load_eds_spectrum_image(
    path: str | PathLike[str], *, lazy: bool = False, reader: str | None = None
) -> ASSBEDSTEMSpectrum:
    """Load the X-ray spectrum or spectrum image of a file: Velox ``.emd``, Bruker ``.bcf``, ``.hspy``, ``.dm4``.

    Parameters
    ----------
    path, lazy, reader
        As for :func:`~hyperspy_assb.load_spectrum_image`.

    Returns
    -------
    ASSBEDSTEMSpectrum
        The largest of the EDX signals of the file, or its only spectra if they have no type (TIA); images beside them
        are left. What was recorded in an SEM has counts of lines and profiles, and no quantification.

    Raises
    ------
    FileNotFoundError, ValueError
        As for :func:`~hyperspy_assb.load_spectrum_image`, and if a package is missing that the reader needs, naming it.

    Warns
    -----
    UserWarning
        If the file holds several EDX signals, naming the one that was taken.
    """
    signal = load_signal(path, {"lazy": lazy}, reader, choose=named_x_ray_spectra, what=("X-ray spectrum", "spectra"))
    return as_type(signal, "EDS_TEM_ASSB")
