"""What all results have in common: maps as signals, tables, one file, and the way back from it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import IntEnum
from os import PathLike
from typing import Any, ClassVar

import hyperspy.api as hs
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from numpy.typing import NDArray

from hyperspy_assb.errors import AssbFileError, AssbValueError
from hyperspy_assb.provenance import to_plain
from hyperspy_assb.signals import result_files
from hyperspy_assb.signals.packing import find_class, pack, unpack
from hyperspy_assb.signals.region_mask import Names, region_masks
from hyperspy_assb.signals.result_html import result_html
from hyperspy_assb.staging import path_of

_ACOM = "hyperspy_assb.acom."
_ACOM_SIGNALS = "hyperspy_assb.signals.acom."
_COMPARED = "hyperspy_assb.eels.comparison.results"
_ECHEM = "hyperspy_assb.echem."
_EDS = "hyperspy_assb.eds."
_EDS_SIGNALS = "hyperspy_assb.signals.eds."
_EELS = "hyperspy_assb.eels."
_EELS_SIGNALS = "hyperspy_assb.signals.eels."
_FITS = "hyperspy_assb.signals.fits."
_LAMELLA = "hyperspy_assb.lamella."
_REGISTRATION = "hyperspy_assb.registration."
_SERIES = "hyperspy_assb.series."
_SERIES_SIGNALS = "hyperspy_assb.signals.series."
_VOLTAMMOGRAM = "hyperspy_assb.signals.echem.voltammogram_results"
_ZERO_LOSS = "hyperspy_assb.eels.zero_loss."
KINDS: dict[str, str] = {
    "Affine": _REGISTRATION + "affine",
    "AreaFractions": _ACOM + "maps.area_fractions",
    "AtomSite": _ACOM + "crystals.crystal_phase",
    "BeamChange": _ECHEM + "beam_change",
    "BeamComparison": _VOLTAMMOGRAM,
    "BeamEffects": _SERIES + "beam_effects",
    "BeamSeries": _SERIES_SIGNALS + "beam_series",
    "Beyond": _EDS + "interfaces.interface_width",
    "BoundaryWidths": _SERIES + "grains.boundary_width",
    "Brightness": _SERIES + "brightness",
    "Calibration": _EELS + "delithiation.standard",
    "Candidates": _EELS + "delithiation.reference_candidates",
    "Capacitance": _VOLTAMMOGRAM,
    "Change": _COMPARED,
    "Cluster": "hyperspy_assb.fitting.statistics.permutation",
    "Comparison": _COMPARED,
    "Composition": _EDS + "composition.atoms",
    "CompositionChange": _EDS + "comparison.composition_change",
    "CompositionComparison": _EDS_SIGNALS + "composition_comparison",
    "ContrastSeries": _SERIES_SIGNALS + "contrast_series",
    "Covariance": _FITS + "covariance",
    "Crack": _SERIES + "cracks.crack_paths",
    "CrackSeries": _SERIES_SIGNALS + "crack_series",
    "CrystalPhase": _ACOM + "crystals.crystal_phase",
    "DelithiatedPixels": _EELS_SIGNALS + "delithiated_pixels",
    "Delithiation": _EELS_SIGNALS + "delithiation",
    "DelithiationMixtures": _EELS_SIGNALS + "phase_coexistence",
    "DelithiationPopulations": _EELS_SIGNALS + "phase_coexistence",
    "Detector": "hyperspy_assb.fitting.solver.spectra_fit",
    "Diffraction": _ACOM + "crystals.kinematical",
    "Discovery": _EELS + "delithiation.region_statistics",
    "DoseInformation": "hyperspy_assb.fitting.statistics.precision",
    "Drift": _SERIES + "drift.mean_alignment",
    "DriftCorrection": _SERIES_SIGNALS + "drift_correction",
    "EDSComposition": _EDS_SIGNALS + "compositions",
    "EDSPhases": _EDS_SIGNALS + "compositions",
    "EDSUnmixing": _EDS_SIGNALS + "unmixing",
    "Electrode": "hyperspy_assb.reference.material_facts",
    "EndFrames": _SERIES + "grains.grain_changes",
    "EventKind": _SERIES + "grains.grain_changes",
    "FineStructure": _EELS_SIGNALS + "fine_structure",
    "FineStructureFit": _EELS + "delithiation.fine_structure",
    "FitComparison": _FITS + "fit_comparison",
    "FitQuality": _FITS + "fit_quality",
    "FractionOptions": _ACOM + "maps.area_fractions",
    "FrameMap": _LAMELLA + "frame_map",
    "Goodness": "hyperspy_assb.models.results",
    "GrainBoundaries": _ACOM + "maps.grains",
    "GrainChanges": _SERIES + "grains.grain_changes",
    "GrainEvent": _SERIES + "grains.grain_changes",
    "GrainMap": _SERIES + "grains.grain_labels",
    "GrainMaps": _ACOM_SIGNALS + "grain_maps",
    "GrainOptions": _ACOM + "maps.grains",
    "GrainSeries": _SERIES_SIGNALS + "grain_series",
    "GrainTracks": _SERIES_SIGNALS + "grain_tracks",
    "Grains": _ACOM + "maps.grains",
    "ImageFrame": _REGISTRATION + "affine",
    "ImageRegistration": _REGISTRATION + "image_registration",
    "IndexedScan": _ACOM + "matching.indexed",
    "InterfaceFit": _EDS + "interfaces.interface_width",
    "InterfaceProfile": _EDS_SIGNALS + "interface_profile",
    "Kymograph": _SERIES_SIGNALS + "kymographs",
    "Lamella": _LAMELLA + "lamella",
    "Lead": _SERIES + "region_contrast",
    "Line": _ECHEM + "resistance",
    "LineCounts": _EDS_SIGNALS + "line_counts",
    "LineKind": _SERIES + "cracks.crack_paths",
    "LithiatedFraction": _EELS + "delithiation.lithiated_fraction",
    "LowLossComparison": "hyperspy_assb.signals.eels.low_loss_comparison",
    "Mechanism": _ACOM_SIGNALS + "mechanism",
    "MechanismEvidence": _ACOM + "maps.mechanism_tests",
    "MechanismKind": _ACOM + "maps.mechanism_tests",
    "MechanismOptions": _ACOM + "maps.particles",
    "MechanismTest": _ACOM + "maps.mechanism_tests",
    "Member": _LAMELLA + "members",
    "Mixture": "hyperspy_assb.fitting.statistics.mixtures",
    "MixtureComparison": _EELS + "delithiation.mixing",
    "Noise": "hyperspy_assb.fitting.solver.noise_claim",
    "ModelFit": _FITS + "model_fit",
    "NoiseSource": "hyperspy_assb.fitting.solver.noise_claim",
    "OrientationMaps": _ACOM_SIGNALS + "orientations",
    "Particles": _ACOM + "maps.particles",
    "PatternGeometry": _ACOM + "patterns.geometry",
    "Peak": _ECHEM + "peaks",
    "PeakShape": _ZERO_LOSS + "peak_shape",
    "PhaseChange": _ACOM + "maps.phase_change",
    "PhaseComparison": _ACOM_SIGNALS + "phase_comparison",
    "PhaseMixture": _EDS + "phases.stoichiometry",
    "PhaseOptions": _EDS + "phases.stoichiometry",
    "PhaseSpectra": _EELS + "delithiation.mixture",
    "Plasmon": "hyperspy_assb.eels.scattering.plasmon",
    "PopulationStatus": _EELS + "delithiation.populations",
    "Populations": _EELS + "delithiation.populations",
    "Precision": _FITS + "precision",
    "Profile": _EDS + "interfaces.profiles",
    "PureEdges": _EELS + "delithiation.pure_edges",
    "Quantification": _EELS + "delithiation.quantification",
    "ReferenceSuggestion": _EELS_SIGNALS + "reference_suggestion",
    "Registration": _ACOM + "maps.phase_change",
    "Resistance": _VOLTAMMOGRAM,
    "Standard": _EELS + "delithiation.standard",
    "State": _COMPARED,
    "StateChange": _ACOM + "maps.phase_change",
    "Step": _SERIES + "region_contrast",
    "SweepSearch": _ECHEM + "peaks",
    "Trend": _SERIES + "trends",
    "Unmixed": _EDS + "phases.unmixing",
    "Unnamed": _EELS + "delithiation.unnamed_phases",
    "VoltammogramPeaks": _VOLTAMMOGRAM,
    "Width": _EDS + "interfaces.interface_width",
    "Window": "hyperspy_assb.eels.comparison.options",
    "ZeroLossEstimate": _ZERO_LOSS + "position",
    "ZeroLossMaps": "hyperspy_assb.signals.eels.zero_loss",
}
"""Modules by the names of the classes that a file may hold: results, and the dataclasses and enumerations in them.

Nothing else is ever built from a file. A class is imported when a file first names it.
"""


@dataclass(frozen=True, eq=False, kw_only=True)
class Result(ABC):
    """A result: arrays and dataclasses in its fields, signals when they are asked for.

    A class of results is a frozen dataclass whose fields hold what :func:`.packing.pack` keeps, no HyperSpy signals:
    maps are ``cached_property`` of ``_map``, which are neither pickled nor saved. It says what stands in the
    abstract methods, and is named in ``KINDS`` with the dataclasses in its fields.

    Parameters
    ----------
    axes
        Navigation axes in array order, as dictionaries; none for a result without pixels, or of one spectrum.
    provenance
        What was done to which file, by which version; see :func:`hyperspy_assb.provenance.record`.
    notes
        What a reader must know, in sentences.
    """

    statuses: ClassVar[type[IntEnum] | None] = None
    """Members of ``status``, which is then a signal of integers on the navigation axes."""

    axes: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    provenance: dict[str, Any] = field(default_factory=dict, repr=False)
    notes: tuple[str, ...] = field(default=(), repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone: HyperSpy signals cannot be pickled."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @abstractmethod
    def summary(self) -> str:
        """What was found, one sentence a line.

        Returns
        -------
        str
            With the notes at its end.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> counts = s.fit_line_counts(["Fe_Ka"])
        >>> print(counts.summary())
        Fe_Ka: 1500 ± 37 counts in all pixels.
        """

    @abstractmethod
    def plot(self) -> Axes | NDArray[np.object_]:
        """Plot what was found; returns matplotlib axes.

        Returns
        -------
        matplotlib.axes.Axes or numpy.ndarray
            One, or an array of them.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> axes = s.fit_line_counts(["Fe_Ka"]).plot()
        >>> axes[0].get_title(loc="left")
        'Fe Kα'
        """

    def _repr_html_(self) -> str:
        """What a notebook shows: a small table, a thumbnail and the notes."""
        return result_html(self)

    @abstractmethod
    def _shown(self) -> Any:
        """The signal that the file shows to whoever opens it with HyperSpy alone."""

    def to_dataframe(self, region: Any = None, *, names: Names = None) -> pd.DataFrame:
        """A table of pixels or of regions.

        Parameters
        ----------
        region
            None: one row a pixel, with indices and position (units in the name of the column), every quantity, and
            the status in words; of a result without pixels, one row for each of its finds. Otherwise one row a
            region: a boolean array or signal on the navigation axes (True: taken), a HyperSpy ROI, an image of labels
            (0: none), or a dictionary of these by name.
        names
            Names of the labels 1, 2, ..., of a region of labels, or by label.

        Returns
        -------
        pandas.DataFrame
            Of regions, indexed by their names, with the number of pixels of each status.

        Raises
        ------
        AssbValueError
            If a shape is wrong, a region has no pixel, names do not fit, or the result has no pixels.
        AssbTypeError
            If a region is none of these.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> counts = s.fit_line_counts(["Fe_Ka"])
        >>> counts.shape, len(counts.to_dataframe())
        ((2, 3), 6)
        >>> left = np.array([[True, False, False], [True, False, False]])
        >>> counts.to_dataframe({"left": left, "rest": ~left})[["Fe_Ka", "Fe_Ka std", "fitted"]].round(0)
                Fe_Ka  Fe_Ka std  fitted
        region
        left    501.0       21.0       2
        rest    999.0       30.0       4
        """
        if region is None:
            if names is not None:
                raise AssbValueError("names= are of the labels of an image of integers: give that as region=.")
            return self._table()
        if type(self)._region_row is Result._region_row:
            raise AssbValueError(f"{self._named} has no pixels that region= could name.")
        rows = {}
        for name, mask in region_masks(self._map(np.zeros(self.shape), ""), region, names=names).items():
            rows[name] = {**self._region_row(mask), **self._count_statuses(mask)}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")

    def save(self, path: str | PathLike[str], *, overwrite: bool | None = None) -> None:
        """Save everything in one file; :func:`hyperspy_assb.load` gives it back.

        The file is written whole or not at all: after a crash, a kill or a full disk its earlier content is still
        there.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy; ``~`` is the home folder. HyperSpy opens it as well, and shows one signal.
        overwrite
            As in HyperSpy: None asks, False keeps what is there.

        Raises
        ------
        AssbTypeError
            If ``path`` is no path.
        AssbValueError
            If the ending is another one.
        AssbFileError
            If the file cannot be written, which is an OSError.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hyperspy_assb.simulation import micro_battery
        >>> s = micro_battery(shape=(2, 3), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
        >>> path = Path(tempfile.mkdtemp()) / "counts.hspy"
        >>> s.fit_line_counts(["Fe_Ka"]).save(path)
        >>> load(path).lines
        ('Fe_Ka',)
        """
        path = path_of(path, "path")
        result_files.check_ending(path)
        text, arrays = pack(self, KINDS)
        packed = result_files.Packed(type(self).__name__, text, arrays)
        # The user's own maps keep their metadata.
        shown = self._shown().deepcopy()
        shown.metadata.set_item("ASSB.provenance", _for_hdf5(to_plain(self.provenance)))
        result_files.write_result(path, shown, packed, overwrite=overwrite)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the maps; (1,) where there are no navigation axes."""
        return tuple(map(axis_length, self.axes)) or (1,)

    def _map(self, values: Any, title: str, units: str = "") -> Any:
        """A signal whose axes are all navigation axes; a single value where there are none."""
        data = np.reshape(values, self.shape)
        if self.axes:
            signal = hs.signals.BaseSignal(data, axes=[dict(axis) for axis in self.axes]).transpose(signal_axes=0)
        else:
            signal = hs.signals.BaseSignal(data)
        signal.metadata.General.title = title
        signal.metadata.set_item("Signal.quantity", f"{title} ({units})" if units else title)
        signal.metadata.set_item("ASSB.provenance", to_plain(self.provenance))
        return signal

    def _maps(self, values: NDArray[Any], names: Iterable[str], title: str, units: str = "") -> dict[str, Any]:
        """Maps of the last axis of some values, by name; ``title`` has a place for the name."""
        return {name: self._map(values[..., i], title.format(name), units) for i, name in enumerate(names)}

    def _stacked(self, maps: Mapping[str, Any], title: str) -> Any:
        """Maps of one quantity as one signal, for the file; their names are in its metadata."""
        axes = [{"name": "quantity", "size": len(maps), "navigate": True}, *(dict(axis) for axis in self.axes)]
        data = np.reshape([item.data for item in maps.values()], [axis_length(axis) for axis in axes])
        signal = hs.signals.BaseSignal(data, axes=axes)
        signal.metadata.General.title = title
        signal.metadata.set_item("ASSB.quantities", list(maps))
        return signal

    @property
    def _named(self) -> str:
        name = type(self).__name__
        return f"{'An' if name[0] in 'AEIO' else 'A'} {name}"

    def _table(self) -> pd.DataFrame:
        """The table of everything: of pixels, unless a class without any has rows of its own."""
        columns = {name: np.ravel(values) for name, values in self._pixel_columns().items()}
        table = pd.DataFrame(self._position_columns() | columns)
        if self.statuses is not None:
            table["status"] = self._in_words(self._status())
        return table

    def _pixel_columns(self) -> Mapping[str, Any]:
        """Quantities of every pixel for the table, without position and status."""
        raise AssbValueError(f"{self._named} has no pixels.")

    def _region_row(self, mask: NDArray[np.bool_]) -> Mapping[str, Any]:
        """Quantities of a region, with their errors, for the table; ``mask`` has the shape of the maps."""
        raise NotImplementedError

    def _position_columns(self) -> dict[str, NDArray[Any]]:
        """Indices and positions of every pixel."""
        if not self.axes:
            return {}
        columns = {}
        axes = self._map(np.zeros(self.shape), "").axes_manager._axes
        for number, (spec, axis, index) in enumerate(zip(self.axes, axes, np.indices(self.shape), strict=True)):
            name, units = spec.get("name") or f"axis {number}", spec.get("units")
            if f"{name} index" in columns:  # HyperSpy lets two axes have one name
                name = f"{name} {number}"
            columns[f"{name} index"] = index.ravel()
            columns[f"{name} ({units})" if units else f"{name} position"] = axis.axis[index.ravel()]
        return columns

    def _status(self) -> NDArray[Any]:
        # Classes with pixels have it; here, mypy and readers are told where it comes from.
        return np.ravel(getattr(self, "status").data)  # noqa: B009

    def _in_words(self, status: NDArray[Any]) -> list[str]:
        words = {} if self.statuses is None else {int(s): s.name.lower() for s in self.statuses}
        return [words[int(value)] for value in status]

    def _everywhere(self) -> NDArray[np.bool_]:
        return np.ones(self.shape, dtype=bool)

    def _count_statuses(self, mask: NDArray[np.bool_]) -> dict[str, int]:
        if self.statuses is None:
            return {}
        inside = self._status()[mask.ravel()]
        return {s.name.lower(): int(np.sum(inside == s)) for s in self.statuses}


def load(path: str | PathLike[str]) -> Result:
    """Load any result from the file that its ``save`` wrote.

    Parameters
    ----------
    path
        Ending in .hspy or .zspy.

    Returns
    -------
    Result
        Of the class that was saved.

    Raises
    ------
    AssbFileError
        If the file is missing (then also a FileNotFoundError), damaged, holds something else, or was written by a
        version with another format. It is an OSError and a ValueError, and names the file.

    Examples
    --------
    Composition of a virtual battery, saved and loaded:

    >>> import tempfile
    >>> from pathlib import Path
    >>> import hyperspy_assb
    >>> from hyperspy_assb.simulation import micro_battery
    >>> signal = micro_battery(shape=(3, 4), seed=6, edx_signal_type="EDS_TEM_ASSB").edx_after
    >>> path = Path(tempfile.mkdtemp()) / "composition.hspy"
    >>> signal.quantify_composition().save(path)
    >>> found = hyperspy_assb.load(path)
    >>> type(found).__name__, found.shape
    ('EDSComposition', (3, 4))
    >>> olivine = found.atomic_percent["Fe"].data > 5.0
    >>> found.to_dataframe(region={"olivine": olivine})[["Fe (at. %)", "fitted"]].round(0)
             Fe (at. %)  fitted
    region
    olivine        10.0       9

    What is no result is an error that names the file:

    >>> try:
    ...     hyperspy_assb.load("before bias.hspy")
    ... except FileNotFoundError as error:
    ...     print(error)
    There is no file before bias.hspy: check its name and folder.
    """
    path = path_of(path, "path")
    packed = result_files.read_result(path)
    if packed.kind not in KINDS:
        raise AssbFileError(
            f"{path} holds a {packed.kind!r}, which this version of hyperspy_assb does not know: load it with version "
            f"{packed.written_by}, which wrote it."
        )
    try:
        result = unpack(packed.text, packed.arrays, KINDS)
        if type(result) is not find_class(packed.kind, KINDS) or not isinstance(result, Result):
            raise TypeError(f"it holds a {type(result).__name__}")
    # Classes change between versions, and check what they are given.
    except Exception as error:
        raise AssbFileError(
            f"{path} was written by hyperspy_assb {packed.written_by}, and does not fit this version "
            f"({type(error).__name__}: {error}): load it with that version, or repeat the analysis."
        ) from error
    return result


def _for_hdf5(value: Any) -> Any:
    """A record that HDF5 takes as metadata: names of files may be no Unicode, and integers have 64 bits."""
    if isinstance(value, dict):
        return {str(_for_hdf5(key)) or " ": _for_hdf5(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_for_hdf5(item) for item in value]
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return str(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def axis_length(axis: Mapping[str, Any]) -> int:
    """Values along an axis from its dictionary, which has no size where the axis is a list of values.

    Examples
    --------
    >>> axis_length({"size": 3, "scale": 0.5}), axis_length({"axis": [0.0, 1.0, 4.0]})
    (3, 3)
    """
    while "x" in axis:  # an expression of another axis
        axis = axis["x"]
    return int(axis["size"]) if "size" in axis else len(axis["axis"])


def navigation_axes(signal: Any) -> tuple[dict[str, Any], ...]:
    """Navigation axes in array order, as dictionaries that a signal can be made of."""
    return tuple(signal.axes_manager._get_navigation_axes_dicts())
