"""Scans of diffraction patterns of the virtual lamella, at once or block by block."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from hyperspy_assb.simulation.acom.columns import Columns, largest_radius, patterns_of_columns
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.crystal import DiffractionCrystal, load_crystals
from hyperspy_assb.simulation.acom.patterns import rotation_matrices
from hyperspy_assb.simulation.state import MATERIALS, LamellaState

if TYPE_CHECKING:
    import dask.array
    from hyperspy.signals import BaseSignal

#: Crystals of the lamella, in the order of ``MATERIALS``.
CRYSTALS = ("LiFePO4", "FePO4", "LAGP")
_DEPTHS = 8  # samples of a column from the top down, for each place


def _streams(seed: int | np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """Children of a seed; a sequence is left as it is, so that the same sequence gives the same children again."""
    if isinstance(seed, np.random.SeedSequence):
        return np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(count)
    return np.random.SeedSequence(seed).spawn(count)


@dataclass(frozen=True)
class DiffractionScan:
    """
    A scan of a lamella: every pattern can be made by itself, and is the same whatever others are made with it.

    Attributes
    ----------
    state
        What lies in every pixel.
    conditions
        Microscope, precession and camera.
    seed
        Of what belongs to the grains: strain and scatter of the intensities.
    noise_seed
        Of noise and beam shift; by default it follows from `seed`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> scan = micro_battery(shape=(4, 6), seed=6).diffraction_scan("after")
    >>> scan.shape, len(scan.crystals), scan.beam_shift.shape, scan.grain_strain.shape[1:]
    ((4, 6), 3, (4, 6, 2), (3, 3))
    """

    state: LamellaState
    conditions: DiffractionConditions
    seed: int | np.random.SeedSequence = 0
    noise_seed: int | np.random.SeedSequence | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the scan."""
        ny, nx = self.state.thickness.shape
        return ny, nx

    @cached_property
    def _generators(self) -> dict[str, np.random.Generator]:
        strain, scatter, rest = _streams(self.seed, 3)
        shift, noise = _streams(rest if self.noise_seed is None else self.noise_seed, 2)
        streams = {"strain": strain, "scatter": scatter, "shift": shift, "noise": noise}
        return {name: np.random.default_rng(stream) for name, stream in streams.items()}

    @cached_property
    def beam_shift(self) -> np.ndarray:
        """Place of the direct beam less that of the conditions, column and row in pixels, ``(ny, nx, 2)``."""
        ny, nx = self.shape
        along = np.stack(np.meshgrid(np.linspace(-0.5, 0.5, nx), np.linspace(-0.5, 0.5, ny)), axis=-1)
        jitter = self._generators["shift"].normal(0, self.conditions.beam_jitter, (ny, nx, 2))
        return along * self.conditions.descan + jitter

    @cached_property
    def grain_strain(self) -> np.ndarray:
        """Strain of every grain in its own axes, ``(grains, 3, 3)``, symmetric."""
        tensor = self._generators["strain"].normal(
            0, self.conditions.strain, (len(self.state.grain_orientations), 3, 3)
        )
        return np.tril(tensor) + np.swapaxes(np.tril(tensor, -1), -1, -2)

    @cached_property
    def _grain_matrices(self) -> np.ndarray:
        orientations = self.state.grain_orientations.copy()
        orientations[0] = [1, 0, 0, 0]
        return rotation_matrices(orientations) @ np.linalg.inv(np.eye(3) + self.grain_strain)

    @cached_property
    def _numbers(self) -> tuple[int, np.ndarray]:
        """A number that tells the grains of this scan from others, and the seeds of the noise."""
        number = self._generators["scatter"].integers(2**31)
        return int(number), self._generators["noise"].integers(0, 2**63, self.shape, dtype=np.int64)

    @cached_property
    def crystals(self) -> tuple[DiffractionCrystal, ...]:
        """Reflections of the crystals."""
        return load_crystals(list(CRYSTALS), largest_radius(self.conditions))

    def columns(self, rows: slice = slice(None), columns: slice = slice(None)) -> Columns:
        """
        What the beam crosses in a part of the scan, row after row.

        Parameters
        ----------
        rows, columns
            Part of the scan.

        Returns
        -------
        Columns
            Crystals of each pixel: every grain is as thick as its samples stack up, in as many of the pixel's four
            places as it has.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> scan = micro_battery(shape=(4, 6), seed=6).diffraction_scan("after")
        >>> type(scan.columns(slice(0, 2))).__name__
        'Columns'
        """
        state, part = self.state, (rows, columns)
        samples = state.sample_material.shape[-1]
        material = state.sample_material[part].reshape(-1, samples)
        grain = state.sample_grain[part].reshape(-1, samples)
        count = len(state.grain_orientations)
        label = np.where(material < len(CRYSTALS), material * np.int64(count) + grain, -1)
        ordered = np.sort(label, axis=1)
        first = np.ones(label.shape, dtype=bool)
        first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
        first &= ordered >= 0
        layers = max(1, int(first.sum(axis=1).max(initial=0)))
        rank = np.cumsum(first, axis=1) - 1
        found = np.full((len(label), layers), -1, dtype=np.int64)
        pixel, at = np.nonzero(first)
        found[pixel, rank[pixel, at]] = ordered[pixel, at]

        here = (label[:, None] == found[:, :, None]).reshape(len(label), layers, -1, _DEPTHS)
        places = here.any(axis=-1).sum(axis=-1)
        solid = 1 - state.fractions["vacuum"][part].ravel()
        local = np.divide(state.thickness[part].ravel(), solid, out=np.zeros_like(solid), where=solid > 0)
        exists = found >= 0
        share = np.where(exists, here.sum(axis=(-1, -2)) / np.maximum(places, 1) / _DEPTHS, 0.0)
        number, seeds = self._numbers
        return Columns(
            phase=np.where(exists, found // count, -1),
            matrices=self._grain_matrices[np.where(exists, found % count, 0)],
            thickness=share * local[:, None],
            weight=np.where(exists, places * _DEPTHS / samples, 0.0),
            grain=np.where(exists, found, 0) * 2**31 + number,
            amorphous={
                name: state.fractions[name][part].ravel() * local
                + (state.carbon_film[part].ravel() if name == "carbon" else 0.0)
                for name in ("carbon", "amorphous_LAGP")
            },
            shift=self.beam_shift[part].reshape(-1, 2),
            seeds=seeds[part].ravel(),
        )

    def patterns(
        self,
        rows: slice = slice(None),
        columns: slice = slice(None),
        *,
        noise: bool = True,
        threads: int | None = None,
    ) -> np.ndarray:
        """
        Simulate the patterns of a part of the scan.

        Parameters
        ----------
        rows, columns
            Part of the scan.
        noise
            Whether to draw electrons; if not, the expectation is returned.
        threads
            Number of threads; None is the number of cores.

        Returns
        -------
        numpy.ndarray
            ``(rows, columns, pattern rows, pattern columns)``, of the type of the conditions or float32.

        Examples
        --------
        >>> from hyperspy_assb.simulation import DiffractionConditions, micro_battery
        >>> small = DiffractionConditions().with_shape((64, 64))
        >>> scan = micro_battery(shape=(4, 6), seed=6).diffraction_scan("after", small)
        >>> scan.patterns(slice(0, 1), slice(0, 2)).shape
        (1, 2, 64, 64)
        """
        size = self.state.thickness[rows, columns].shape
        data = patterns_of_columns(
            self.columns(rows, columns), self.crystals, self.conditions, noise=noise, threads=threads
        )
        return data.reshape(*size, *self.conditions.shape)

    def lazy_patterns(self, chunks: tuple[int, int] = (16, 16), *, noise: bool = True) -> dask.array.Array:
        """
        Patterns of the whole scan as a dask array, simulated block by block when they are wanted.

        Parameters
        ----------
        chunks
            Rows and columns of the scan in a block.
        noise
            Whether to draw electrons.

        Returns
        -------
        dask.array.Array
            Equal to :meth:`patterns`.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> scan = micro_battery(shape=(4, 6), seed=6).diffraction_scan("after")
        >>> scan.lazy_patterns(chunks=(2, 3)).numblocks
        (2, 2, 1, 1)
        """
        import dask.array as da

        self.crystals, self.beam_shift, self._grain_matrices, self._numbers  # noqa: B018, once for all threads

        def block(block_info: Any = None) -> np.ndarray:
            (r0, r1), (c0, c1), *_ = block_info[None]["array-location"]
            return self.patterns(slice(r0, r1), slice(c0, c1), noise=noise, threads=1)

        ny, nx = self.shape
        sizes = [
            tuple(min(step, size - begin) for begin in range(0, size, step))
            for size, step in zip((ny, nx), chunks, strict=True)
        ]
        dtype = self.conditions.dtype if noise else np.float32
        whole = tuple((n,) for n in self.conditions.shape)
        return da.map_blocks(block, chunks=(*sizes, *whole), dtype=dtype, meta=np.empty((0, 0, 0, 0), dtype=dtype))


def dominant_material(state: LamellaState) -> np.ndarray:
    """
    Material that fills the largest part of each column.

    Parameters
    ----------
    state
        What lies in every pixel.

    Returns
    -------
    numpy.ndarray
        Index into ``MATERIALS``, ``(ny, nx)``; the carbon film is not counted, of equals the first is taken.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> dominant_material(micro_battery(shape=(4, 6), seed=6).truth.after).shape
    (4, 6)
    """
    return np.stack([state.fractions[name] for name in MATERIALS]).argmax(axis=0)


def default_signal_type() -> str:
    """
    Signal type of simulated patterns.

    Returns
    -------
    str
        ``"ACOM"`` where HyperSpy knows it, else the plain Signal2D.
    """
    from hyperspy.extensions import ALL_EXTENSIONS

    known = ALL_EXTENSIONS["signals"].values()
    return "ACOM" if any(entry.get("signal_type") == "ACOM" for entry in known) else ""


def patterns_to_signal(
    data: Any,
    conditions: DiffractionConditions,
    *,
    pixel_size: float | None = None,
    title: str = "",
    signal_type: str | None = None,
) -> BaseSignal:
    """
    Wrap simulated patterns in a HyperSpy signal.

    Parameters
    ----------
    data
        NumPy or dask array ``(..., pattern rows, pattern columns)``; dask makes a lazy signal.
    conditions
        Conditions that the patterns were simulated with; the axes say what these state.
    pixel_size
        nm between neighbouring patterns; with None the navigation axes have no scale.
    title
        Title in the metadata.
    signal_type
        HyperSpy signal type; None is ``default_signal_type``.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        Signal axes kx, ky in 1/Å with 0 at the stated place of the direct beam; in the metadata the beam energy in keV,
        the camera length (mm; under Detector.Diffraction in cm, as in pyxem), the precession angle
        (``precession_angle`` in degrees, and ``rocking_angle`` in mrad, as in pyxem) and the convergence angle in
        mrad.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import DiffractionConditions
    >>> small = DiffractionConditions().with_shape((64, 64))
    >>> patterns_to_signal(np.ones((2, 3, 64, 64)), small, pixel_size=5.0, title="nothing")
    <ACOMPatterns, title: nothing, dimensions: (3, 2|64, 64)>
    """
    import hyperspy.api as hs  # seconds: only when a signal is wanted

    signal = hs.signals.Signal2D(data) if isinstance(data, np.ndarray) else hs.signals.Signal2D(data).as_lazy()
    names = ("x", "y") if data.ndim == 4 else tuple(f"axis_{i}" for i in range(data.ndim - 2))
    for axis, name in zip(signal.axes_manager.navigation_axes, names, strict=False):
        axis.name = name
        if pixel_size is not None:
            axis.scale, axis.units = pixel_size, "nm"
    scale = conditions.scale if conditions.stated_scale is None else conditions.stated_scale
    centre = conditions.direct_beam_position if conditions.stated_centre is None else conditions.stated_centre
    for axis, name, place in zip(signal.axes_manager.signal_axes, ("kx", "ky"), centre, strict=True):
        axis.name, axis.units = name, "1/Å"
        axis.scale, axis.offset = scale, -scale * place
    if signal_type is None:
        signal_type = default_signal_type()
    if signal_type:
        signal.set_signal_type(signal_type)
    signal.metadata.General.title = title
    node = "Acquisition_instrument.TEM."
    signal.metadata.set_item(node + "beam_energy", conditions.beam_energy)
    signal.metadata.set_item(node + "convergence_angle", conditions.convergence_angle)
    signal.metadata.set_item(node + "camera_length", conditions.camera_length)
    signal.metadata.set_item(node + "rocking_angle", 1e3 * np.deg2rad(conditions.precession_angle).item())
    signal.metadata.set_item(node + "precession_angle", conditions.precession_angle)
    signal.metadata.set_item(node + "Detector.Diffraction.camera_length", conditions.camera_length / 10)
    signal.metadata.set_item("Signal.quantity", "Electrons (Counts)")
    return signal


def simulate_scan(
    state: LamellaState,
    conditions: DiffractionConditions | None = None,
    seed: int | np.random.SeedSequence = 0,
    *,
    noise_seed: int | np.random.SeedSequence | None = None,
    pixel_size: float | None = None,
    lazy: bool = False,
    noise: bool = True,
    signal_type: str | None = None,
) -> BaseSignal:
    """
    Simulate a scan of diffraction patterns of a lamella.

    Parameters
    ----------
    state
        What lies in every pixel, from :func:`.build_lamella` or the truth of a battery.
    conditions
        Microscope, precession and camera.
    seed, noise_seed
        See ``DiffractionScan``.
    pixel_size
        nm between neighbouring patterns.
    lazy
        Whether to simulate blocks only when they are wanted.
    noise
        Whether to draw electrons.
    signal_type
        HyperSpy signal type; None is "ACOM" where it is registered.

    Returns
    -------
    hyperspy.api.signals.Signal2D
        Navigation axes x, y in nm, signal axes kx, ky in 1/Å; see :func:`patterns_to_signal`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import DiffractionConditions, micro_battery
    >>> state = micro_battery(shape=(4, 6), seed=6).truth.after
    >>> simulate_scan(state, DiffractionConditions().with_shape((64, 64)), pixel_size=20.0)
    <ACOMPatterns, title: , dimensions: (6, 4|64, 64)>
    """
    conditions = conditions or DiffractionConditions()
    scan = DiffractionScan(state, conditions, seed, noise_seed)
    data = scan.lazy_patterns(noise=noise) if lazy else scan.patterns(noise=noise)
    return patterns_to_signal(data, conditions, pixel_size=pixel_size, signal_type=signal_type)
