"""x from the fine structure of core-loss edges: from DualEELS signals to the request, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.eels.delithiation.end_members import VACUUM_NAME, canonical_names, find_electrode
from hyperspy_assb.eels.delithiation.fine_structure import COMBINED, FineStructureFit, quantify_fine_structure
from hyperspy_assb.eels.delithiation.pure_edges import DualSpectra
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.progress import counting
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.eels.delithiation import Delithiation
from hyperspy_assb.signals.eels.dispersion import on_dispersion_of
from hyperspy_assb.signals.eels.fraction_maps import FractionMaps
from hyperspy_assb.signals.eels.low_loss_reading import read_energy_axis, read_low_loss
from hyperspy_assb.signals.region_mask import region_mask
from hyperspy_assb.signals.result import navigation_axes

_FROM_LOW_LOSS = "The thickness, energy shift and resolution of each pixel are those of its low loss."
_ONE_LOW_LOSS = (
    "One low-loss spectrum stands for all pixels: differences of thickness and energy shift between them are not "
    "corrected. Record the low loss of every pixel (DualEELS)."
)


@dataclass(frozen=True, eq=False, repr=False)
class FineStructure(FractionMaps):
    """x of an electrode in every pixel, from the fine structure of its core-loss edges.

    Parameters
    ----------
    found
        What was found, as arrays; see
        :class:`~hyperspy_assb.eels.delithiation.fine_structure.FineStructureFit`.
    electrode
        The electrode with its two end members.
    method
        The edges whose maps are shown, or "combined"; :meth:`with_method` shows others.
    references
        Pure pixels, boolean arrays on the navigation axes.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss, simulate_spectra
    >>> from hyperspy_assb.simulation.battery import spectra_to_signal
    >>> x, nm = np.repeat([1.0, 0.0, 0.5], 8), np.tile(np.linspace(40.0, 80.0, 8), 3)
    >>> columns, low = {"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, EELSConditions(dispersion=0.5, n_channels=256)
    >>> low_loss = spectra_to_signal(simulate_spectra(columns, low, 1, zero_loss_shift=0.0), low)
    >>> core = core_loss_conditions(low)
    >>> s = spectra_to_signal(simulate_core_loss(columns, core, 2), core, signal_type="EELS_ASSB")
    >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
    >>> d = s.quantify_fine_structure(pure, low_loss, show_progressbar=False)
    >>> d
    FineStructure(LixFePO4, method='combined')
    >>> d.methods
    ('O K', 'Fe L2,3', 'combined')
    >>> d.to_dataframe({"both": x == 0.5})[["x"]].round(1)
              x
    region
    both    0.5
    >>> d.explained["O K"].data.shape
    (24,)
    >>> print(d.summary().splitlines()[-1])
    The thickness, energy shift and resolution of each pixel are those of its low loss.
    >>> d.plot().shape, [ax.get_title(loc="left") for ax in d.plot_edges()]
    ((2, 2), ['O K', 'Fe L2,3'])
    """

    found: FineStructureFit = field(repr=False)
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"FineStructure({self.electrode.name}, method={self.method!r})"

    def with_method(self, method: str) -> FineStructure:
        """The same pixels by other edges.

        Parameters
        ----------
        method
            One of ``methods``.

        Returns
        -------
        FineStructure
            With the maps of these edges.

        Raises
        ------
        ValueError
            If there are no such edges.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, core_loss_conditions, simulate_core_loss
        >>> from hyperspy_assb.simulation import simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 8), np.tile(np.linspace(40.0, 80.0, 8), 3)
        >>> columns, low = {"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, EELSConditions(dispersion=0.5, n_channels=256)
        >>> low_loss = spectra_to_signal(simulate_spectra(columns, low, 1, zero_loss_shift=0.0), low)
        >>> core = core_loss_conditions(low)
        >>> s = spectra_to_signal(simulate_core_loss(columns, core, 2), core, signal_type="EELS_ASSB")
        >>> d = s.quantify_fine_structure(
        ...     {"LiFePO4": x == 1.0, "FePO4": x == 0.0}, low_loss, show_progressbar=False
        ... )
        >>> d.with_method("Fe L2,3")
        FineStructure(LixFePO4, method='Fe L2,3')
        """
        if method not in self.methods:
            raise AssbValueError(f"method must be one of {', '.join(map(repr, self.methods))}, not {method!r}.")
        return replace(self, method=method)

    @cached_property
    def explained(self) -> dict[str, Any]:
        """p value of the hypothesis that the edges are mixtures of the references, by their names."""
        return {name: self._map(p, f"p value of a mixture, {name}") for name, p in self.found.explained.items()}

    def summary(self) -> str:
        """x of all quantified pixels together, where the delithiated end member is, pixels by status, and the notes.

        Returns
        -------
        str
            One sentence a line.
        """
        return self._summary()

    def plot(self) -> NDArray[np.object_]:
        """Plot x, its uncertainty and the status as maps, and the distribution of x.

        Returns
        -------
        numpy.ndarray
            The matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.delithiation import plot_delithiation

        return plot_delithiation(self)

    def plot_edges(self) -> NDArray[np.object_]:
        """Plot the edges of the phases, as the pure pixels show them.

        Returns
        -------
        numpy.ndarray
            One of the matplotlib axes for each range of edges.
        """
        from hyperspy_assb.plotting.delithiation_spectra import plot_pure_edges

        axes: NDArray[np.object_] = plot_pure_edges(self.found.edges)
        return axes


def quantify_dual_eels(
    signal: Any,
    references: Mapping[str, Any] | Delithiation,
    low_loss: Any,
    *,
    electrode: str | Electrode | None = None,
    show_progressbar: bool | None = None,
) -> FineStructure:
    """What :meth:`.ASSBEELSSpectrum.quantify_fine_structure` does."""
    if isinstance(references, Delithiation):
        references, electrode = references.references, electrode or references.electrode
        if not references:
            raise AssbValueError(
                "The Delithiation has no pure pixels of its own: name those of this map in references."
            )
    if not isinstance(references, Mapping):
        raise AssbTypeError(
            "references must be a dictionary of pure pixels by phase, as {'LiFePO4': mask, 'FePO4': mask}, or a "
            f"Delithiation, not {type(references).__name__}."
        )
    phases = canonical_names(references)
    couple = find_electrode(list(phases.values()), electrode)
    spectra, microscope, file, notes = _read(signal, low_loss)
    masks = {
        name: region_mask(signal, references[given], name=f"references[{given!r}]")
        for given, name in phases.items()
        if name != VACUUM_NAME
    }
    for one, other in combinations(masks, 2):
        if shared := int((masks[one] & masks[other]).sum()):
            raise AssbValueError(
                f"references[{one!r}] and references[{other!r}] share {shared} pixels; each holds one phase."
            )
    with counting("fine structure", len(spectra.counts), show_progressbar) as advance:
        found = quantify_fine_structure(
            spectra, {name: mask.ravel() for name, mask in masks.items()}, couple, progress=advance
        )
    parameters = {"electrode": couple.name, "edges": list(found.edges), "microscope": microscope, "file": file}
    return FineStructure(
        found=found,
        electrode=couple,
        method=COMBINED,
        references=masks,
        axes=navigation_axes(signal),
        notes=(*notes, *_sentences(found)),
        provenance=provenance.record(
            "quantify_fine_structure", parameters=parameters, methods=["fine_structure", "fourier_ratio"]
        ),
    )


def _read(signal: Any, low_loss: Any) -> tuple[DualSpectra, dict[str, Any], str, tuple[str, ...]]:
    """Both halves as arrays, the microscope, the file, and what is to be said of them."""
    if getattr(low_loss, "axes_manager", None) is None:
        raise AssbTypeError(f"low_loss must be the low-loss signal of the same pixels, not {type(low_loss).__name__}.")
    core = read_low_loss(signal, zero_loss=False, purpose="the edges")
    read_energy_axis(low_loss)
    low = read_low_loss(on_dispersion_of(low_loss, signal), purpose="the zero-loss peak")
    if low.shape not in (core.shape, ()) and len(low.counts) != 1:
        raise AssbValueError(
            f"low_loss has navigation axes of {low.shape}, and the core loss of {core.shape}: both are of the same "
            "pixels, or low_loss is one spectrum."
        )
    spectra = DualSpectra(core.counts, core.energy, low.counts, low.energy, core.detector)
    single = len(low.counts) == 1 < len(core.counts)
    return spectra, asdict(core.microscope), core.file, (_ONE_LOW_LOSS if single else _FROM_LOW_LOSS,)


def _sentences(found: FineStructureFit) -> list[str]:
    said = []
    if found.noise.contradicted or not found.noise.is_counting:
        said.append(found.noise.sentence)
    for name in found.unnamed:
        others = [other for other in found.edges if other not in found.unnamed]
        rest = f" x of the pixels that hold it is from {' and '.join(others)} alone." if others else ""
        said.append(f"Some columns contain material with {name} that no reference explains: name pixels of it.{rest}")
    return said
