"""The EDX signal of all-solid-state batteries.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, ClassVar

import numpy as np
from exspy.signals import LazyEDSTEMSpectrum

from hyperspy_assb.eds.comparison.composition_change import CompositionOptions, Reference, compare_maps
from hyperspy_assb.eds.composition.map_analysis import quantify_map
from hyperspy_assb.eds.eds_map import EDSOptions
from hyperspy_assb.eds.interfaces.map_interface import ProfileOptions, ProfilePlace, interface_of_map
from hyperspy_assb.eds.interfaces.profiles import Strip
from hyperspy_assb.eds.lines.axis_check import EnergyCalibration, find_calibration
from hyperspy_assb.eds.lines.element_finder import FoundElement, find_elements
from hyperspy_assb.eds.lines.sensitivity import Factors
from hyperspy_assb.eds.phases.stoichiometry import PhaseOptions, phases_of_map
from hyperspy_assb.eds.phases.unmixing import unmix_map
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.progress import progress_bar
from hyperspy_assb.provenance import compare_doses
from hyperspy_assb.reference import material
from hyperspy_assb.signals.beam_dose import dose_of
from hyperspy_assb.signals.eds.composition_comparison import CompositionComparison
from hyperspy_assb.signals.eds.compositions import EDSComposition, EDSPhases
from hyperspy_assb.signals.eds.interface_profile import InterfaceProfile, phase_share
from hyperspy_assb.signals.eds.line_counts import BatteryLines, LineCounts, line_counts, prepare_lines
from hyperspy_assb.signals.eds.map_reading import read_map, units_per_keV
from hyperspy_assb.signals.eds.recorded_spectrum import RecordedEDSTEMSpectrum
from hyperspy_assb.signals.eds.unmixing import EDSUnmixing
from hyperspy_assb.signals.loading import as_type, load_signal, named_x_ray_spectra
from hyperspy_assb.signals.region_mask import region_mask


class ASSBEDSTEMSpectrum(RecordedEDSTEMSpectrum):
    """X-ray spectra of all-solid-state batteries in a (S)TEM.

    Any EDS signal becomes one by ``s.set_signal_type("EDS_TEM_ASSB")`` or ``hs.load(..., signal_type="EDS_TEM_ASSB")``;
    data, axes and metadata stay as they are, and every method of :class:`exspy.signals.EDSTEMSpectrum` works. What this
    package notes about a signal is kept in its metadata, under the node ``ASSB``.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6).edx_after
    >>> s.set_signal_type("EDS_TEM_ASSB")
    >>> s
    <ASSBEDSTEMSpectrum, title: Virtual micro-battery after bias, X-rays, dimensions: (3, 2|2048)>
    >>> round(s.get_take_off_angle(), 1)
    18.0
    """

    _signal_type = "EDS_TEM_ASSB"
    _alias_signal_types: ClassVar[list[str]] = []

    # ------------------------------------------------------------------ lines

    def prepare_battery_lines(
        self, elements: Sequence[str] | None = None, *, add: Sequence[str] = (), remove: Sequence[str] = ()
    ) -> BatteryLines:
        """Set the elements and lines of the cell, and report which of them overlap.

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
        AssbValueError
            If an element is not known, or the energy resolution or beam energy is missing.

        Warns
        -----
        AssbWarning
            If no line of an element lies in the range.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> found = s.prepare_battery_lines(["O", "P", "V", "Fe"])
        >>> found.names
        ['V_La', 'O_Ka', 'Fe_La', 'P_Ka', 'V_Ka', 'Fe_Ka']
        >>> found.overlaps[["first", "second", "distance (eV)"]].round(0)
          first second  distance (eV)
        0  V_Ll   O_Ka           79.0
        1  V_Ln   O_Ka           71.0
        2  V_La   O_Ka           12.0
        3  V_La  Fe_Ll          102.0
        4  O_Ka  Fe_Ll           90.0
        """
        return prepare_lines(self, elements, add, remove)

    def fit_line_counts(
        self, xray_lines: Sequence[str] | None = None, *, fit_range: tuple[float, float] | None = None
    ) -> LineCounts:
        """Count the photons of every line in every pixel, overlapping lines together.

        The Gaussians are those of exspy's model (``create_model``), families tied; the continuum has the shape that
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
        AssbValueError
            If a line lies beyond the axis, counts are negative, or all spectra are empty.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> found = s.fit_line_counts(["Fe_Ka", "P_Ka"])
        >>> print(found.summary())
        Fe_Ka: 1501 ± 37 counts in all pixels.
        P_Ka: 1757 ± 44 counts in all pixels.
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
        AssbValueError
            If fewer than two lines stand out.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> s.axes_manager.signal_axes[0].offset += 0.03
        >>> found = s.check_energy_calibration()
        >>> round(1000 * found.offset)
        29
        """
        return find_calibration(read_map(self, need_angle=False), EDSOptions(fit_range=fit_range, absorption=False))

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
        AssbValueError
            If the lines that were found are not where the counts are; nothing is changed.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> axis = s.axes_manager.signal_axes[0]
        >>> axis.offset += 0.03
        >>> before = axis.offset
        >>> found = s.correct_energy_calibration()
        >>> round(1000 * (axis.offset - before))
        -29
        """
        found = self.check_energy_calibration()
        if not found.trusted:
            raise AssbValueError(f"{found.notes[0]} Nothing was changed.")
        axis = self.axes_manager.signal_axes[0]
        axis.offset, axis.scale = found.corrected(axis.offset, axis.scale, per_keV=units_per_keV(self))
        if resolution:
            self.set_microscope_parameters(energy_resolution_MnKa=found.resolution)
        return found

    def find_elements(self, *, alpha: float = 0.05, fit_range: tuple[float, float] | None = None) -> list[FoundElement]:
        """Look for all elements from B to U in the summed spectrum.

        Parameters
        ----------
        alpha
            Share of the spectra in which chance may name an element that is not there. Below 6 standard errors nothing
            is named at any alpha: line shapes leave as much.
        fit_range
            keV; 0.18 to 15 by default.

        Returns
        -------
        list of FoundElement
            By significance; those that cannot be distinguished, such as S K and Mo L, are named together.

        Raises
        ------
        AssbValueError
            If alpha is not between 0 and 1, or the spectrum cannot be fitted.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> found = [element for item in s.find_elements() for element in item.elements]
        >>> [name for name in ("O", "P", "Fe") if name in found]
        ['O', 'P', 'Fe']
        """
        return find_elements(read_map(self, need_angle=False), EDSOptions(fit_range=fit_range), alpha=alpha)

    # ---------------------------------------------------------- quantification

    def quantify_composition(
        self,
        *,
        k_factors: Factors = None,
        thickness: float | None = None,
        elements: Sequence[str] | None = None,
        quantification: EDSOptions | None = None,
        show_progressbar: bool | None = None,
    ) -> EDSComposition:
        """Count the atoms of each element in every pixel, from the whole spectrum.

        All lines of an element that have a factor are fitted together, with absorption in the specimen, in one fit by
        Poisson likelihood. ``quantification`` is exspy's, from counts of one line for each element
        (:meth:`fit_line_counts`).

        Parameters
        ----------
        k_factors
            Cliff-Lorimer factors by line, in weight, or a table in a file (columns line, factor, uncertainty); None:
            computed from ionisation cross-sections and fluorescence yields, which the result says.
        thickness
            Mean thickness in nm, on which absorption and the scale of amounts rest; None: beam current, live time and
            solid angle in the metadata determine it.
        elements
            Elements that are looked for; None: those of the cell, of the preparation and of the metadata.
        quantification
            Zeta factors, absorption, range of the fit; and the above, where several maps are to be quantified alike.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        EDSComposition
            Atoms/nm^2 and atomic per cent with uncertainties.

        Raises
        ------
        AssbValueError
            If resolution, take-off angle, live time or the factor of an element is missing; an option is given twice;
            counts are negative; or the map is empty.

        Warns
        -----
        AssbWarning
            If the energy axis is off, or exspy's defaults stand in for what the file did not say.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> c = s.quantify_composition(elements=["C", "O", "Al", "P", "Fe", "Ge", "Si", "Cu"])
        >>> c.mean().round(1).loc[["O", "P", "Fe"]]
                 at. %  std  systematic
        element
        O         54.7  0.8         9.3
        P         14.9  0.4         3.3
        Fe         9.1  0.3         2.0
        """
        settings = _told(quantification, k_factors=k_factors, thickness=thickness, elements=elements)
        recorded = read_map(self, need_angle=settings.absorption)
        with progress_bar("composition", show_progressbar):
            return EDSComposition(**vars(quantify_map(recorded, settings)), axes=recorded.axes)

    def quantify_phases(
        self,
        phases: Mapping[str, str] | Sequence[str] | None = None,
        *,
        k_factors: Factors = None,
        thickness: float | None = None,
        densities: Mapping[str, float] | None = None,
        elements: Sequence[str] | None = None,
        quantification: EDSOptions | None = None,
        options: PhaseOptions | None = None,
        show_progressbar: bool | None = None,
    ) -> EDSPhases:
        """Fit every spectrum as a non-negative mixture of phases of known stoichiometry.

        Parameters
        ----------
        phases
            Names, and the material of :data:`hyperspy_assb.materials` of each, or the latter alone; None: olivine
            (LiFePO4 and FePO4, which have the same X-ray lines), LAGP, Li3V2(PO4)3 and carbon.
        k_factors, thickness
            As in :meth:`quantify_composition`.
        densities
            g/cm^3 of phases whose density is not that of the reference table, such as {"carbon": 2.0}.
        elements
            As in :meth:`quantify_composition`; those of the phases are looked for in any case.
        quantification
            As in :meth:`quantify_composition`.
        options
            Levels of the flags, and phases and densities where these are not given.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        EDSPhases
            Fractions with uncertainties, and whether the phases explain each pixel.

        Raises
        ------
        AssbValueError
            As in :meth:`quantify_composition`, if a density is not above 0, or if two phases have the same elements in
            the same proportions.
        UnknownReferenceError
            If a phase is not in the reference tables.

        Warns
        -----
        AssbWarning
            If the phases do not explain the map as a whole, or one pixel in fifty and more, and as in
            :meth:`quantify_composition`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> p = s.quantify_phases()
        >>> p.phases
        ('olivine', 'LAGP', 'Li3V2(PO4)3', 'carbon')
        >>> p.volume_fraction["olivine"].data.round(1)
        array([[0.6, 0.5, 0.3],
               [0.6, 0.5, 0.5]])
        """
        options = options or PhaseOptions()
        if isinstance(phases, str):
            phases = (phases,)
        if phases is not None and not isinstance(phases, Mapping):
            # By the name that each has everywhere, whatever alias was given.
            phases = {row.name: row.name for row in map(material, phases)}
        chosen = dict(options.phases if phases is None else phases)
        own = {**{k: v for k, v in options.densities if k in chosen}, **(densities or {})}
        options = replace(options, phases=tuple(chosen.items()), densities=tuple(own.items()))
        settings = _told(quantification, k_factors=k_factors, thickness=thickness, elements=elements)
        if settings.elements is not None:
            settings = replace(settings, elements=(*settings.elements, *options.elements()))
        recorded = read_map(self, need_angle=settings.absorption)
        with progress_bar("phases", show_progressbar):
            return EDSPhases(**vars(phases_of_map(recorded, settings, options)), axes=recorded.axes)

    def unmix(
        self,
        n: int,
        *,
        known: Sequence[str] | str = (),
        k_factors: Factors = None,
        thickness: float | None = None,
        elements: Sequence[str] | None = None,
        quantification: EDSOptions | None = None,
        show_progressbar: bool | None = None,
    ) -> EDSUnmixing:
        """Find phases that nobody named: compositions of which every spectrum is a non-negative mixture.

        Poisson likelihood with whole spectra; compositions of known phases are fixed by their stoichiometry.

        Parameters
        ----------
        n
            Components in all, the known ones included.
        known
            Materials of :data:`hyperspy_assb.materials` that are among them.
        k_factors, thickness
            As in :meth:`quantify_composition`.
        elements
            As in :meth:`quantify_composition`; components hold these. With None, elements of the preparation (Si, Cu,
            Ga, Pt, Au) are looked for, and are of no component unless a known phase holds them.
        quantification
            As in :meth:`quantify_composition`.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        EDSUnmixing
            Composition of each component with errors, and its share in every pixel.

        Raises
        ------
        AssbValueError
            As in :meth:`quantify_composition`, if n does not exceed the number of known phases, or if there are too few
            spectra.
        UnknownReferenceError
            If a known phase is not in the reference tables.

        Warns
        -----
        AssbWarning
            If n is too many, so that components cannot be separated, or too few; if part of a component may be
            another; and as in :meth:`quantify_composition`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
        >>> scene = simulate_interface(InterfaceOptions(width=8.0, shape=(12, 24)), rng=1, signal_type="EDS_TEM_ASSB")
        >>> u = scene.signal.unmix(2, known="LAGP")
        >>> u.composition.loc["unknown 1"].round(0).loc[["O", "P", "Fe"], "at. %"].tolist()
        [65.0, 17.0, 18.0]
        """
        settings = _told(quantification, k_factors=k_factors, thickness=thickness, elements=elements)
        recorded = read_map(self, need_angle=settings.absorption)
        names = (known,) if isinstance(known, str) else tuple(known)
        with progress_bar("unmixing", show_progressbar):
            return EDSUnmixing(**vars(unmix_map(recorded, settings, n, names)), axes=recorded.axes)

    def interface_profile(
        self,
        line: Any = None,
        *,
        boundary: Any = None,
        phase: str = "olivine",
        probe: float,
        reach: float | None = None,
        elements: Sequence[str] | None = None,
        quantification: EDSOptions | None = None,
        options: ProfileOptions | None = None,
    ) -> InterfaceProfile:
        """Fit error functions to the elements across an interface, corrected for the width of the probe.

        Of a map that was recorded in an SEM, or with factors that are "counts", amounts are counts of main lines.

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
        reach
            Distance in nm from the boundary, or from the middle of the line, up to which pixels are used.
        elements
            Elements of the profile; those of the cell by default.
        quantification
            Factors, thickness, absorption, elements that are looked for, range of the fit.
        options
            Width of the bins, and how much a phase is smoothed before its boundary is drawn.

        Returns
        -------
        InterfaceProfile
            Widths with intervals, what lies beyond the boundary, and ``InterfaceProfile.compare`` for two states.

        Raises
        ------
        AssbValueError
            If there are fewer than eight bins, no element differs between the sides, or the axes have no length unit.

        Warns
        -----
        AssbWarning
            If error functions of one width do not describe the profile.

        Examples
        --------
        >>> from hyperspy_assb.simulation import InterfaceOptions, simulate_interface
        >>> scene = simulate_interface(InterfaceOptions(width=8.0, shape=(4, 32)), rng=1, signal_type="EDS_TEM_ASSB")
        >>> profile = scene.signal.interface_profile(probe=1.5, elements=["O", "P", "Fe", "Ge"])
        >>> round(profile.width, 1)
        8.1
        >>> [round(limit, 1) for limit in profile.width_interval]
        [8.0, 8.3]
        """
        if line is not None and boundary is not None:
            raise AssbValueError("Give line or boundary, not both.")
        place = ProfilePlace(
            probe=probe,
            strip=None if line is None else Strip((line.x1, line.y1), (line.x2, line.y2), float(line.linewidth)),
            share=None if boundary is None else phase_share(boundary, phase),
            reach=reach,
            elements=EDSOptions(elements=elements).elements,
        )
        settings = quantification or EDSOptions()
        recorded = read_map(self, need_angle=settings.absorption)
        analysis = interface_of_map(recorded, settings, place, options or ProfileOptions())
        return InterfaceProfile(**vars(analysis))

    def compare_composition(
        self,
        after: ASSBEDSTEMSpectrum,
        *,
        images: tuple[Any, Any] | None = None,
        unchanged: Any = None,
        k_factors: Factors = None,
        thickness: float | None = None,
        elements: Sequence[str] | None = None,
        quantification: EDSOptions | None = None,
        options: CompositionOptions | None = None,
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
        k_factors, thickness, elements, quantification
            As in :meth:`quantify_composition`, for both states.
        options
            Blocks of pixels, registration, false discovery rate.

        Returns
        -------
        CompositionComparison
            Differences with standard errors, and where they are more than noise.

        Raises
        ------
        AssbValueError
            If the maps differ in shape, pixel size or beam energy, or cannot be registered.

        Warns
        -----
        AssbWarning
            If shift and change explain each other, and as in :meth:`quantify_composition`.

        Examples
        --------
        >>> from hyperspy_assb.eds.comparison.composition_change import CompositionOptions
        >>> from hyperspy_assb.simulation import micro_battery
        >>> battery = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB")
        >>> options, elements = CompositionOptions(register=False), ["C", "O", "Al", "P", "Fe", "Ge"]
        >>> c = battery.edx_before.compare_composition(battery.edx_after, options=options, elements=elements)
        >>> print(c.summary().splitlines()[1])
        O: +0.28 ± 1.14 at. % in all blocks together; 0 went up and 0 down of 6.
        """
        if not isinstance(after, ASSBEDSTEMSpectrum):
            raise AssbTypeError("after must be an EDX signal as well: set_signal_type('EDS_TEM_ASSB').")
        settings = _told(quantification, k_factors=k_factors, thickness=thickness, elements=elements)
        maps = [read_map(signal, need_angle=settings.absorption) for signal in (self, after)]
        where = None if unchanged is None else region_mask(self, unchanged, name="unchanged")
        reference = Reference(
            images=None if images is None else tuple(np.asarray(getattr(i, "data", i), dtype=float) for i in images),
            unchanged=None if where is None else np.atleast_2d(where),
        )
        analysis = compare_maps(*maps, settings, options or CompositionOptions(), reference)
        doses = {"before": dose_of(self), "after": dose_of(after)}
        return CompositionComparison(
            analysis.found,
            axes=analysis.found.axes(maps[0].axes),
            provenance={**analysis.provenance, "dose": doses},
            notes=(*analysis.notes, compare_doses(doses)),
        )


def _told(quantification: EDSOptions | None, **direct: Any) -> EDSOptions:
    return (quantification or EDSOptions()).told(**direct)


class LazyASSBEDSTEMSpectrum(ASSBEDSTEMSpectrum, LazyEDSTEMSpectrum):
    """X-ray spectra of all-solid-state batteries that stay on disk until they are needed.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after.as_lazy()
    >>> type(s).__name__
    'LazyASSBEDSTEMSpectrum'
    """


def load_eds_spectrum_image(
    path: str | PathLike[str],
    *,
    lazy: bool = False,
    reader: str | None = None,
    dataset: str | int | None = None,
) -> ASSBEDSTEMSpectrum:
    """Load the X-ray spectrum or spectrum image of a file: Velox ``.emd``, Bruker ``.bcf``, ``.hspy``, ``.dm4``.

    Parameters
    ----------
    path, lazy, reader, dataset
        As for :func:`~hyperspy_assb.load_spectrum_image`.

    Returns
    -------
    ASSBEDSTEMSpectrum
        The largest of the EDX signals of the file, or its only spectra if they have no type (TIA); images beside them
        are left. What was recorded in an SEM has counts of lines and profiles, and no quantification.

    Raises
    ------
    AssbFileNotFoundError, AssbValueError
        As for :func:`~hyperspy_assb.load_spectrum_image`, and if a package is missing that the reader needs, naming it.

    Warns
    -----
    AssbWarning
        If the file holds several EDX signals, naming them and the one that was taken.

    Examples
    --------
    >>> import hyperspy_assb, tempfile
    >>> from pathlib import Path
    >>> from hyperspy_assb.simulation import micro_battery
    >>> path = Path(tempfile.mkdtemp()) / "edx.hspy"
    >>> micro_battery(shape=(2, 3), seed=6).edx_after.save(path)
    >>> hyperspy_assb.load_eds_spectrum_image(path)
    <ASSBEDSTEMSpectrum, title: Virtual micro-battery after bias, X-rays, dimensions: (3, 2|2048)>
    """
    what = ("X-ray spectrum", "spectra")
    signal = load_signal(path, {"lazy": lazy}, reader, choose=named_x_ray_spectra, what=what, dataset=dataset)
    return as_type(signal, "EDS_TEM_ASSB")
