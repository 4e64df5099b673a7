"""EDX maps of a state of the virtual lamella: HyperSpy signals and what is really there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hyperspy_assb.simulation.eds.column_spectra import draw_spectra, expected_spectra, with_contamination
from hyperspy_assb.simulation.eds.conditions import XRayConditions
from hyperspy_assb.simulation.eds.physics import areal_densities
from hyperspy_assb.simulation.state import LamellaState

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal

#: Elements of the cell that X-rays show, in the order of the truth maps; vanadium is that of the other electrode.
CELL_ELEMENTS = ("C", "O", "Al", "P", "V", "Fe", "Ge")
#: What preparation and chip add.
FOREIGN_ELEMENTS = ("Si", "Cu", "Ga", "Pt", "Au")


@dataclass(frozen=True)
class XRayTruth:
    """
    What an EDX map really shows; all maps in array order, ``(ny, nx)``.

    Attributes
    ----------
    areal_density
        Atoms/nm^2 of each element under the beam, Li and the foreign elements on the lamella included, stray X-rays
        not.
    atomic_percent
        Atomic per cent of each of ``CELL_ELEMENTS`` among these; they add up to 100, or are NaN in vacuum.
    volume_fraction
        Share of the material in the column, carbon film included: "olivine" (LiFePO4 and FePO4, which X-rays do not
        tell apart), "LAGP" (crystalline and amorphous), "Li3V2(PO4)3" and "carbon". They add up to 1, or are NaN in
        vacuum.
    electrons
        Electrons for each pixel.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> truth = micro_battery(shape=(4, 6), seed=6).edx_truth_after
    >>> sorted(truth.atomic_percent), truth.volume_fraction["LAGP"].shape
    (['Al', 'C', 'Fe', 'Ge', 'O', 'P', 'V'], (4, 6))
    """

    areal_density: dict[str, np.ndarray]
    atomic_percent: dict[str, np.ndarray]
    volume_fraction: dict[str, np.ndarray]
    electrons: float

    @classmethod
    def from_columns(cls, columns: dict[str, np.ndarray], atoms: dict[str, np.ndarray], electrons: float) -> XRayTruth:
        """
        Work out the truth.

        Parameters
        ----------
        columns
            Thickness in nm of each phase.
        atoms
            Atoms/nm^2 of each element, foreign ones included.
        electrons
            Electrons for each pixel.

        Returns
        -------
        XRayTruth
            With NaN where there is nothing.

        Examples
        --------
        >>> import numpy as np
        >>> thickness = {"LiFePO4": np.array([[50.0, 100.0]])}
        >>> truth = XRayTruth.from_columns(thickness, areal_densities(thickness), electrons=1e9)
        >>> truth.atomic_percent["Fe"].round(1)
        array([[16.7, 16.7]])
        """
        groups = {
            "olivine": ("LiFePO4", "FePO4"),
            "LAGP": ("LAGP", "amorphous_LAGP"),
            "Li3V2(PO4)3": ("Li3V2(PO4)3",),
            "carbon": ("carbon",),
        }
        nothing = np.zeros(np.broadcast_shapes(*[np.shape(n) for n in atoms.values()]))
        volume = {name: sum((columns.get(m, 0.0) for m in members), nothing) for name, members in groups.items()}
        return cls(
            areal_density=dict(atoms),
            atomic_percent=shares({el: atoms.get(el, 0.0) + nothing for el in CELL_ELEMENTS}, 100.0),
            volume_fraction=shares(volume, 1.0),
            electrons=electrons,
        )


def shares(parts: dict[str, np.ndarray], whole: float) -> dict[str, np.ndarray]:
    """
    Parts of a whole.

    Parameters
    ----------
    parts
        Arrays of one shape.
    whole
        What the shares add up to.

    Returns
    -------
    dict
        Shares; NaN where all parts are 0.
    """
    total = sum(parts.values())
    nothing = np.full(np.shape(total), np.nan)
    return {name: np.divide(whole * part, total, out=nothing.copy(), where=total > 0) for name, part in parts.items()}


def state_atoms(state: LamellaState, conditions: XRayConditions, pixel_size: float) -> dict[str, np.ndarray]:
    """
    Atoms under the beam in every pixel of a state, foreign ones included.

    Parameters
    ----------
    state
        State of the lamella.
    conditions
        Conditions; only their contamination matters.
    pixel_size
        nm.

    Returns
    -------
    dict
        Atoms/nm^2 by element, ``(ny, nx)``.
    """
    vacuum = state.fractions["vacuum"]
    # The edge of the lamella is at the top: vacuum above a pixel is how far down the edge lies there.
    row = np.arange(vacuum.shape[0])[:, None] + 0.5
    depth = (row - vacuum.sum(axis=0)) * pixel_size
    return with_contamination(areal_densities(state.columns()), conditions, solid=1 - vacuum, depth=depth)


def simulate_state(
    state: LamellaState,
    conditions: XRayConditions,
    rng: np.random.Generator,
    *,
    pixel_size: float,
    electrons: float,
    noise: bool = True,
) -> tuple[np.ndarray, XRayTruth]:
    """
    Simulate the EDX map of a state.

    Parameters
    ----------
    state
        State of the lamella.
    conditions
        Conditions.
    rng
        Source of noise.
    pixel_size
        nm.
    electrons
        Electrons for each pixel.
    noise
        Whether to draw counts.

    Returns
    -------
    tuple
        Counts ``(ny, nx, n_channels)``, and the truth.
    """
    atoms = state_atoms(state, conditions, pixel_size)
    if noise:
        data = draw_spectra(atoms, conditions, rng, electrons=electrons)
    else:
        data = expected_spectra(atoms, conditions, electrons=electrons)
    return data, XRayTruth.from_columns(state.columns(), atoms, electrons)


def edx_to_signal(
    data: np.ndarray,
    conditions: XRayConditions,
    *,
    electrons: float | None = None,
    pixel_size: float | None = None,
    title: str = "",
    signal_type: str = "EDS_TEM",
) -> BaseSignal:
    """
    Wrap simulated X-ray spectra in a HyperSpy signal.

    Parameters
    ----------
    data
        ``(..., n_channels)``.
    conditions
        Conditions that the spectra were simulated with.
    electrons
        Electrons for each pixel, from which the live time follows; by default those of the conditions.
    pixel_size
        nm between neighbouring spectra; with None the navigation axes have no scale.
    title
        Title in the metadata.
    signal_type
        HyperSpy signal type.

    Returns
    -------
    hyperspy.api.signals.BaseSignal
        With calibrated axes, a binned energy axis in keV, and what HyperSpy's EDS TEM signals know of the microscope:
        beam energy and current, live time, tilts, angles of the detector, resolution, elements.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import XRayConditions
    >>> conditions = XRayConditions()
    >>> edx_to_signal(np.ones((2, 3, conditions.n_channels)), conditions, electrons=1e8, pixel_size=5.0)
    <EDSTEMSpectrum, title: , dimensions: (3, 2|2048)>
    """
    import hyperspy.api as hs  # seconds: only when a signal is wanted

    signal = hs.signals.Signal1D(data)
    names = ("x", "y") if data.ndim <= 3 else tuple(f"axis_{i}" for i in range(data.ndim - 1))
    for axis, name in zip(signal.axes_manager.navigation_axes, names, strict=False):
        axis.name = name
        if pixel_size is not None:
            axis.scale, axis.units = pixel_size, "nm"
    energy = signal.axes_manager.signal_axes[0]
    energy.name, energy.units = "Energy", "keV"
    energy.scale, energy.offset = conditions.dispersion, conditions.offset
    signal.set_signal_type(signal_type)
    signal.axes_manager.signal_axes[0].is_binned = True
    live_time = conditions.live_time * (1.0 if electrons is None else electrons / conditions.electrons)
    detector, tem = conditions.detector, "Acquisition_instrument.TEM."
    items = {
        "General.title": title,
        "Signal.quantity": "X-rays (Counts)",
        "Sample.elements": sorted((*CELL_ELEMENTS, *FOREIGN_ELEMENTS)),
        tem + "beam_energy": conditions.beam.beam_energy,
        tem + "beam_current": conditions.probe_current,
        tem + "Stage.tilt_alpha": conditions.tilt_alpha,
        tem + "Stage.tilt_beta": conditions.tilt_beta,
        tem + "Detector.EDS.azimuth_angle": detector.azimuth_angle,
        tem + "Detector.EDS.elevation_angle": detector.elevation_angle,
        tem + "Detector.EDS.energy_resolution_MnKa": detector.energy_resolution,
        tem + "Detector.EDS.solid_angle": detector.solid_angle,
        tem + "Detector.EDS.live_time": live_time,
        # The pulse processor is idle for the resolving time only: dead time of real ones is longer, and known to them.
        tem + "Detector.EDS.real_time": live_time,
    }
    for path, value in items.items():
        signal.metadata.set_item(path, value)
    return signal
