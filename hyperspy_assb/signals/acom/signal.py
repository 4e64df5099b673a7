"""The signal of 4D-STEM diffraction patterns.

Methods are thin: they read axes and metadata, call one function on arrays, and dress what comes back as signals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from hyperspy.signals import BaseSignal, LazySignal2D, Signal2D
from numpy.typing import ArrayLike

from hyperspy_assb.acom.patterns.geometry import PatternGeometry
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.signals.acom.pattern_metadata import HIGHEST_ENERGY, TEM, read_geometry, read_scan, write_geometry
from hyperspy_assb.signals.beam_dose import dose_of

if TYPE_CHECKING:
    from hyperspy_assb.acom.matching.block_indexing import IndexingOptions
    from hyperspy_assb.acom.templates.bank import TemplateBank
    from hyperspy_assb.signals.acom.orientations import OrientationMaps


class ACOMPatterns(Signal2D):
    """Diffraction patterns of a scan, for automated crystal orientation mapping.

    Any two-dimensional signal becomes one by ``s.set_signal_type("ACOM")`` or ``hs.load(..., signal_type="ACOM")``;
    data, axes and metadata stay as they are. The axes of the patterns are in 1/Å or 1/nm, 0 being the direct beam; what
    else is known of the calibration is kept in the metadata, under the node ``ASSB.diffraction``. For the reference
    frame see ``frames``.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> import numpy as np
    >>> s = hs.signals.Signal2D(np.ones((3, 4, 32, 32), dtype="uint16"))
    >>> s.set_signal_type("ACOM")
    >>> s
    <ACOMPatterns, title: , dimensions: (4, 3|32, 32)>
    """

    _signal_type = "ACOM"
    _signal_dimension = 2

    @property
    def geometry(self) -> PatternGeometry:
        """Where reciprocal space lies on the detector, as axes and metadata state it.

        Raises
        ------
        ValueError
            If an axis is not calibrated, or states what cannot be; the message names it.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(2, 2), seed=6).patterns_after
        >>> patterns.geometry.scale
        0.024
        """
        return read_geometry(self)

    def set_diffraction_calibration(
        self,
        scale: float | None = None,
        *,
        centre: tuple[float, float] | None = None,
        ellipticity: float | None = None,
        ellipse_azimuth: float | None = None,
        scan_rotation: float | None = None,
        mirrored: bool | None = None,
        beam_energy: float | None = None,
        geometry: PatternGeometry | None = None,
    ) -> None:
        """Set the calibration of the patterns, in the axes and the metadata; parameters that are not given stay.

        Parameters
        ----------
        scale
            1/Å per pixel.
        centre
            Column and row of the direct beam, in pixels.
        ellipticity
            Ratio of the long to the short axis of a distorted circle, minus 1.
        ellipse_azimuth
            Azimuth in degrees of the long axis, from +x (columns) towards +y (rows).
        scan_rotation
            Azimuth in degrees of the scan's x axis on the detector.
        mirrored
            Whether the camera shows patterns mirrored: rows are counted upwards.
        beam_energy
            keV.
        geometry
            The whole calibration at once, such as the refined one of a result, ``r.geometry``.

        Raises
        ------
        ValueError
            If a value is out of range, or there is no scale to keep.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> import numpy as np
        >>> s = hs.signals.Signal2D(np.ones((3, 4, 32, 32), dtype="uint16"))
        >>> s.set_signal_type("ACOM")
        >>> s.set_diffraction_calibration(0.04, centre=(15, 16))
        >>> s.geometry.scale, s.geometry.centre
        (0.04, (15.0, 16.0))

        Block files (.blo) often lack the camera length and the beam energy:

        >>> s.set_diffraction_calibration(0.012, beam_energy=200)
        >>> s.metadata.Acquisition_instrument.TEM.beam_energy
        200.0
        """
        given: dict[str, Any] = {
            "scale": scale,
            "centre": None if centre is None else (float(centre[0]), float(centre[1])),
            "ellipticity": ellipticity,
            "ellipse_azimuth": None if ellipse_azimuth is None else float(np.radians(ellipse_azimuth)),
            "scan_rotation": None if scan_rotation is None else float(np.radians(scan_rotation)),
            "mirrored": mirrored,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if beam_energy is not None and not 1.0 <= beam_energy <= HIGHEST_ENERGY:
            raise AssbValueError(f"beam_energy: {beam_energy:g} keV lies outside of 1 to {HIGHEST_ENERGY:g} keV.")
        if beam_energy is not None and not given and geometry is None:
            self.metadata.set_item(TEM + "beam_energy", float(beam_energy))
            return
        if geometry is None:
            if scale is None:
                geometry = self._geometry_with(given.get("centre"))
            else:
                rows, columns = self.data.shape[-2:]
                try:
                    geometry = replace(self.geometry, scale_std=float("nan"))
                except ValueError:
                    geometry = PatternGeometry(scale=scale, centre=((columns - 1) / 2, (rows - 1) / 2))
        geometry = replace(geometry, **given)
        rows, columns = self.data.shape[-2:]
        for place, size, name in zip(geometry.centre, (columns, rows), ("columns", "rows"), strict=True):
            if not -0.5 <= place <= size - 0.5:
                raise AssbValueError(f"centre: {place:g} lies outside of the frame, which has {size} {name}.")
        write_geometry(self, geometry)
        if beam_energy is not None:
            self.metadata.set_item(TEM + "beam_energy", float(beam_energy))

    def _geometry_with(self, centre: tuple[float, float] | None) -> PatternGeometry:
        """The stated calibration, whose centre may be wrong if another is given."""
        if centre is None:
            return self.geometry
        copy = self._get_signal_signal() if self.axes_manager.navigation_dimension else self
        copy = copy._deepcopy_with_new_data(np.empty(self.data.shape[-2:], dtype=bool))
        for axis in copy.axes_manager.signal_axes:
            axis.offset = 0.0
        return read_geometry(copy)

    def virtual_bright_field(
        self,
        radius: float | None = None,
        *,
        mask: ArrayLike | BaseSignal | None = None,
        show_progressbar: bool | None = None,
    ) -> BaseSignal:
        """Counts in the direct beam of each pattern.

        Parameters
        ----------
        radius
            1/Å around the centre; None: one and a half times the convergence angle in the metadata, at least 3 pixels.
        mask
            True where pixels of the detector are left out, as for :meth:`index_orientations`.
        show_progressbar
            For lazy patterns; HyperSpy's preference by default.

        Returns
        -------
        BaseSignal
            On the navigation axes, in counts.

        Raises
        ------
        ValueError
            If the patterns are not calibrated.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(2, 3), seed=6).patterns_after
        >>> patterns.virtual_bright_field()
        <BaseSignal, title: Virtual bright field, dimensions: (3, 2|)>
        """
        from hyperspy_assb.acom.scan.scan_indexing import bright_field
        from hyperspy_assb.progress import counting

        scan = read_scan(self, mask=mask).examined()
        show = show_progressbar if self._lazy else False
        with counting("bright field", int(np.prod(scan.shape)), show) as tick:
            counts = bright_field(scan, radius, done=tick)
        shape = self.axes_manager._navigation_shape_in_array or (1,)
        result = self._get_navigation_signal(data=counts.reshape(shape))
        if self.axes_manager.navigation_dimension:
            result = result.transpose(signal_axes=0)
        result.metadata.General.title = "Virtual bright field"
        result.metadata.set_item("Signal.quantity", "Counts")
        return result

    def index_orientations(
        self,
        bank: TemplateBank | Sequence[Any],
        *,
        geometry: PatternGeometry | None = None,
        mask: ArrayLike | BaseSignal | None = None,
        calibrate: bool = True,
        refine: bool = True,
        backend: str = "numba",
        options: IndexingOptions | None = None,
        show_progressbar: bool | None = None,
    ) -> OrientationMaps:
        """Find phase and orientation of the crystal in every pattern, and amorphous material.

        Parameters
        ----------
        bank
            Templates, see :func:`hyperspy_assb.acom.simulate_bank`; or names or CIFs of phases (``["lfp", "fp",
            "lagp"]``), for which a bank is made with the beam energy and the precession angle in the metadata.
        geometry
            Calibration to start with; None: that of the axes and the metadata.
        mask
            True where pixels of the detector are left out, shape (rows, columns) of a pattern, besides those that the
            file names and those that are found: dead, hot, marked and flickering ones, gaps between chips, odd rows and
            columns. They are filled from what lies about them; ``notes`` says how many there are.
        calibrate
            Whether scale, centre and ellipse are refined on the patterns themselves, with their uncertainty. The
            probability of a phase holds only with it: lattices that differ by a few per cent are distinguished by the
            scale.
        refine
            Whether orientations are refined below the spacing of the templates.
        backend
            ``"numba"``, or ``"pyxem"`` where it is installed, to compare with: phase, orientation and correlation
            alone.
        options
            Of the engine, see :class:`hyperspy_assb.acom.matching.block_indexing.IndexingOptions`; None: its defaults.
        show_progressbar
            HyperSpy's preference by default.

        Returns
        -------
        OrientationMaps
            Maps on the navigation axes. Lazy patterns are read and indexed block by block.

        Raises
        ------
        ValueError
            If the patterns are not calibrated, there are more than two navigation axes, or the backend is unknown.
        ImportError
            If the backend is not installed.

        Notes
        -----
        Template matching of square-rooted patterns less the mean of each radius (E. F. Rauch, L. Dupuy, Arch. Metall.
        Mater. 50, 87 (2005)), refined below the grid by the score of all spots; phases are weighed by the likelihood of
        the residuals, with the uncertainty of the scale. Patterns whose spots no phase explains are "not offered";
        unexplained spots are indexed again, for two crystals in a column (``r.second``).

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> from hyperspy_assb.simulation import micro_battery
        >>> patterns = micro_battery(shape=(4, 4), seed=6).patterns_after
        >>> bank = simulate_bank(["lfp", "fp"], resolution=4.0)
        >>> r = patterns.index_orientations(bank, show_progressbar=False)
        >>> sorted(r.posterior)
        ['FePO4', 'LiFePO4', 'not offered']
        >>> r.phase_map.data.shape
        (4, 4)
        """
        from hyperspy_assb.signals.acom.indexing import index_orientations

        return index_orientations(
            read_scan(self, geometry, mask=mask),
            bank,
            calibrate=calibrate,
            refine=refine,
            backend=backend,
            options=options,
            show_progressbar=show_progressbar,
            dose=dose_of(self),
        )


class LazyACOMPatterns(ACOMPatterns, LazySignal2D):
    """Diffraction patterns that stay on disk until they are needed.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> patterns = micro_battery(shape=(2, 3), seed=6).patterns_after
    >>> patterns.as_lazy()
    <LazyACOMPatterns, title: ..., dimensions: (3, 2|128, 128)>
    """


def load_patterns(
    path: str | PathLike[str],
    *,
    lazy: bool = False,
    reader: str | None = None,
    scan_shape: tuple[int, int] | None = None,
    dataset: str | int | None = None,
) -> ACOMPatterns:
    """Load the diffraction patterns of a file.

    Parameters
    ----------
    path
        File to read: NanoMEGAS block files (.blo), .hspy, .zspy, Merlin (.mib), Digital Micrograph (.dm4), or any other
        format that HyperSpy reads.
    lazy
        Whether the patterns stay on disk until they are needed.
    reader
        Name of the reader, where the file extension is ambiguous (``.hdf5``); None: by the extension.
    scan_shape
        Rows and columns of the scan, where the file has its patterns in one line (``.tvips``, ``.mib``, ``.ser``,
        ``.mrc``), in the order in which they were recorded; None: as in the file.
    dataset
        Where the file holds several: the title of the one that is meant, a part of it that no other has, or its number,
        from 0 in the order of ``hs.load``.

    Returns
    -------
    ACOMPatterns
        The largest of the two-dimensional signals in the file; of a file that holds one array of three or four axes,
        the fastest two are those of the patterns.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file cannot be read (truncated, damaged, or of an unknown format), holds no pattern, or not as many as
        the scan has pixels. The message names the file.

    Warns
    -----
    AssbWarning
        If the file holds several scans, naming them and the one that was taken.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from hyperspy_assb import load_patterns
    >>> from hyperspy_assb.simulation import micro_battery
    >>> path = Path(tempfile.mkdtemp()) / "scan.hspy"
    >>> micro_battery(shape=(2, 3), seed=6).patterns_after.save(path)
    >>> load_patterns(path, lazy=True)
    <LazyACOMPatterns, title: ..., dimensions: (3, 2|...)>
    >>> load_patterns(path, scan_shape=(1, 6))
    <ACOMPatterns, title: ..., dimensions: (6, 1|...)>
    """
    from hyperspy_assb.signals.acom.scan_shape import as_pattern_scan
    from hyperspy_assb.signals.loading import load_largest

    signal = load_largest(
        path,
        lazy=lazy,
        reader=reader,
        signal_type="ACOM",
        wanted=_is_pattern,
        what="diffraction pattern",
        dataset=dataset,
    )
    try:
        signal = as_pattern_scan(signal, scan_shape)
    except AssbValueError as error:
        raise AssbValueError(f"{path}: {error}") from None
    if signal.metadata.Signal.signal_type != "ACOM":
        signal.set_signal_type("ACOM")
    return signal


def _is_pattern(signal: Any) -> bool:
    axes = signal.axes_manager
    return bool(axes.signal_dimension == 2 or (axes.signal_dimension in (3, 4) and not axes.navigation_dimension))
