"""The virtual micro-battery as HyperSpy signals, with its truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.acom.conditions import DiffractionConditions
from hyperspy_assb.simulation.acom.scan import DiffractionScan, patterns_to_signal
from hyperspy_assb.simulation.conditions import EELSConditions
from hyperspy_assb.simulation.eds.column_spectra import exposure
from hyperspy_assb.simulation.eds.conditions import XRayConditions
from hyperspy_assb.simulation.eds.signals import XRayTruth, edx_to_signal, simulate_state, state_atoms
from hyperspy_assb.simulation.eels.spectra import relative_thickness, simulate_spectra
from hyperspy_assb.simulation.lamella import LamellaOptions, build_lamella
from hyperspy_assb.simulation.state import LamellaState, Particles

if TYPE_CHECKING:
    from hyperspy.signals import BaseSignal


@dataclass(frozen=True)
class Truth:
    """
    What the virtual battery really is.

    Attributes
    ----------
    before, after
        Maps of each state.
    particles
        Olivine particles, the same in both states.
    pixel_size
        nm.
    zero_loss_before, zero_loss_after
        Position of the zero-loss maximum in eV in every EELS pixel, ``(ny, nx)``.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> truth = micro_battery(shape=(8, 8), seed=6).truth
    >>> truth.before.x.shape, truth.zero_loss_before.shape
    ((8, 8), (8, 8))
    >>> bool(truth.after.fractions["FePO4"].mean() > truth.before.fractions["FePO4"].mean())
    True
    """

    before: LamellaState
    after: LamellaState
    particles: Particles
    pixel_size: float
    zero_loss_before: np.ndarray
    zero_loss_after: np.ndarray


def spectra_to_signal(
    data: np.ndarray,
    conditions: EELSConditions,
    *,
    pixel_size: float | None = None,
    title: str = "",
    signal_type: str = "EELS",
) -> BaseSignal:
    """
    Wrap simulated spectra in a HyperSpy signal.

    Parameters
    ----------
    data
        ``(..., n_channels)``.
    conditions
        Conditions that the spectra were simulated with.
    pixel_size
        nm between neighbouring spectra; with None the navigation axes have no scale.
    title
        Title in the metadata.
    signal_type
        HyperSpy signal type.

    Returns
    -------
    hyperspy.api.signals.BaseSignal
        With calibrated axes, a binned energy axis, beam energy and angles.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions
    >>> conditions = EELSConditions()
    >>> spectra_to_signal(np.ones((2, 3, conditions.n_channels)), conditions, title="nothing")
    <EELSSpectrum, title: nothing, dimensions: (3, 2|1024)>
    """
    import hyperspy.api as hs  # seconds: only when a signal is wanted

    signal = hs.signals.Signal1D(data)
    names = ("x", "y") if data.ndim <= 3 else tuple(f"axis_{i}" for i in range(data.ndim - 1))
    for axis, name in zip(signal.axes_manager.navigation_axes, names, strict=False):
        axis.name = name
        if pixel_size is not None:
            axis.scale, axis.units = pixel_size, "nm"
    energy = signal.axes_manager.signal_axes[0]
    energy.name, energy.units = "Energy loss", "eV"
    energy.scale, energy.offset = conditions.dispersion, conditions.offset
    signal.set_signal_type(signal_type)
    signal.axes_manager.signal_axes[0].is_binned = True
    signal.metadata.General.title = title
    beam, node = conditions.beam, "Acquisition_instrument.TEM."
    signal.metadata.set_item(node + "beam_energy", beam.beam_energy)
    signal.metadata.set_item(node + "convergence_angle", beam.convergence_angle)
    signal.metadata.set_item(node + "Detector.EELS.collection_angle", beam.collection_angle)
    signal.metadata.set_item("Signal.quantity", "Electrons (Counts)")
    return signal


class MicroBattery:
    """
    A virtual micro-battery before and after bias.

    Parameters
    ----------
    truth
        What is really there.
    eels_before, eels_after
        EELS signals with navigation axes x, y in nm and an energy axis in eV.
    conditions
        Conditions of the EELS measurement.
    dose
        Expected electrons in a spectrum.
    edx_conditions
        Conditions of the EDX measurement.
    edx_streams
        Random numbers of the EDX maps before and after.
    edx_signal_type
        HyperSpy signal type of the EDX maps.
    pattern_conditions
        Conditions of the diffraction patterns.
    pattern_seeds
        Random numbers of the strain of the "grains", and of the noise "before" and "after".
    noise
        Whether counts are drawn.

    Attributes
    ----------
    edx_before, edx_after
        EDX signals of the same pixels with an energy axis in keV, simulated when first asked for.
    edx_truth_before, edx_truth_after
        What these maps show: atoms, composition and phases of every pixel.
    patterns_before, patterns_after
        Diffraction patterns of the same lamella, navigation axes x, y in nm and signal axes kx, ky in 1/Å; simulated
        when they are first asked for. See :meth:`simulate_patterns` for others.

    Examples
    --------
    >>> from hyperspy_assb.simulation import BatteryOptions, DiffractionConditions, micro_battery
    >>> small = BatteryOptions(patterns=DiffractionConditions().with_shape((64, 64)))
    >>> battery = micro_battery(shape=(4, 6), seed=6, options=small)
    >>> battery.eels_before, battery.edx_before
    (<EELSSpectrum, title: Virtual micro-battery before bias, dimensions: (6, 4|1024)>, <EDSTEMSpectrum, title:
    Virtual micro-battery before bias, X-rays, dimensions: (6, 4|2048)>)
    >>> battery.edx_after.data.shape, battery.edx_truth_before.electrons == battery.edx_truth_after.electrons
    ((4, 6, 2048), True)
    >>> battery.patterns_before.data.shape, battery.patterns_after.axes_manager.signal_shape
    ((4, 6, 64, 64), (64, 64))
    """

    def __init__(
        self,
        *,
        truth: Truth,
        eels_before,
        eels_after,
        conditions: EELSConditions,
        dose: float,
        edx_conditions: XRayConditions | None = None,
        edx_streams: tuple[np.random.SeedSequence, np.random.SeedSequence] | None = None,
        edx_signal_type: str = "EDS_TEM",
        pattern_conditions: DiffractionConditions | None = None,
        pattern_seeds: dict[str, np.random.SeedSequence] | None = None,
        noise: bool = True,
    ) -> None:
        self.truth = truth
        self.pattern_conditions = pattern_conditions or _small_patterns()
        self._pattern_seeds = pattern_seeds or dict(
            zip(("grains", "before", "after"), np.random.SeedSequence(0).spawn(3), strict=True)
        )
        self.eels_before = eels_before
        self.eels_after = eels_after
        self.conditions = conditions
        self.dose = dose
        self.edx_conditions = edx_conditions or XRayConditions()
        self._edx_streams = edx_streams or tuple(np.random.SeedSequence(0).spawn(2))
        self._edx_signal_type = edx_signal_type
        self._noise = noise

    def __repr__(self) -> str:
        ny, nx = self.truth.after.thickness.shape
        return f"<MicroBattery, {ny} x {nx} pixels of {self.truth.pixel_size:.3g} nm, dose {self.dose:.3g}>"

    @cached_property
    def _electrons(self) -> float:
        """Electrons in a pixel of the EDX maps, the same in both; a mean count is met before bias."""
        return exposure(state_atoms(self.truth.before, self.edx_conditions, self.truth.pixel_size), self.edx_conditions)

    def _simulate_edx(self, name: str):
        state, stream = {
            "before": (self.truth.before, self._edx_streams[0]),
            "after": (self.truth.after, self._edx_streams[1]),
        }[name]
        data, truth = simulate_state(
            state,
            self.edx_conditions,
            np.random.default_rng(stream),
            pixel_size=self.truth.pixel_size,
            electrons=self._electrons,
            noise=self._noise,
        )
        signal = edx_to_signal(
            data,
            self.edx_conditions,
            electrons=self._electrons,
            pixel_size=self.truth.pixel_size,
            title=f"Virtual micro-battery {name} bias, X-rays",
            signal_type=self._edx_signal_type,
        )
        return signal, truth

    @cached_property
    def _before(self):
        return self._simulate_edx("before")

    @cached_property
    def _after(self):
        return self._simulate_edx("after")

    @property
    def edx_before(self) -> BaseSignal:
        """EDX spectra before bias, simulated when first asked for."""
        return self._before[0]

    @property
    def edx_after(self) -> BaseSignal:
        """EDX spectra after bias, simulated when first asked for."""
        return self._after[0]

    @property
    def edx_truth_before(self) -> XRayTruth:
        """What the EDX map before bias shows."""
        return self._before[1]

    @property
    def edx_truth_after(self) -> XRayTruth:
        """What the EDX map after bias shows."""
        return self._after[1]

    @cached_property
    def patterns_before(self) -> BaseSignal:
        """Diffraction patterns before bias."""
        return self.simulate_patterns("before")

    @cached_property
    def patterns_after(self) -> BaseSignal:
        """Diffraction patterns after bias."""
        return self.simulate_patterns("after")

    def diffraction_scan(self, state: str, conditions: DiffractionConditions | None = None) -> DiffractionScan:
        """
        The scan behind the patterns: place of the direct beam, strain of the grains, single patterns.

        Parameters
        ----------
        state
            ``"before"`` or ``"after"``.
        conditions
            Microscope, precession and camera; None is those of the battery.

        Returns
        -------
        DiffractionScan
            With the true place of the direct beam in `beam_shift` and the strain of the grains in `grain_strain`.

        Raises
        ------
        AssbValueError
            If there is no such state.

        Examples
        --------
        >>> from hyperspy_assb.simulation import micro_battery
        >>> scan = micro_battery(shape=(4, 6), seed=6).diffraction_scan("after")
        >>> scan.shape, scan.beam_shift.shape
        ((4, 6), (4, 6, 2))
        """
        if state not in ("before", "after"):
            raise AssbValueError(f'state must be "before" or "after", not {state!r}')
        seeds = self._pattern_seeds
        conditions = conditions or self.pattern_conditions
        return DiffractionScan(getattr(self.truth, state), conditions, seeds["grains"], seeds[state])

    def simulate_patterns(
        self,
        state: str,
        conditions: DiffractionConditions | None = None,
        *,
        lazy: bool = False,
        chunks: tuple[int, int] = (16, 16),
        signal_type: str | None = None,
    ) -> BaseSignal:
        """
        Simulate diffraction patterns of the lamella.

        Parameters
        ----------
        state
            ``"before"`` or ``"after"`` bias.
        conditions
            Microscope, precession and camera; None is those of the battery.
        lazy
            Whether to simulate blocks only when they are wanted.
        chunks
            Rows and columns of the scan in a block of a lazy signal.
        signal_type
            HyperSpy signal type; None is "ACOM" where it is registered.

        Returns
        -------
        hyperspy.api.signals.Signal2D
            Navigation axes x, y in nm, signal axes kx, ky in 1/Å.

        Examples
        --------
        >>> from hyperspy_assb.simulation import DiffractionConditions, micro_battery
        >>> battery = micro_battery(shape=(4, 6), seed=6)
        >>> battery.simulate_patterns("after", DiffractionConditions().with_shape((64, 64)))
        <ACOMPatterns, title: Virtual micro-battery after bias, diffraction, dimensions: (6, 4|64, 64)>
        """
        scan = self.diffraction_scan(state, conditions)
        return patterns_to_signal(
            scan.lazy_patterns(chunks, noise=self._noise) if lazy else scan.patterns(noise=self._noise),
            scan.conditions,
            pixel_size=self.truth.pixel_size,
            title=f"Virtual micro-battery {state} bias, diffraction",
            signal_type=signal_type,
        )


def _small_patterns() -> DiffractionConditions:
    return DiffractionConditions().with_shape((128, 128))


@dataclass(frozen=True)
class BatteryOptions:
    """
    A lamella, and how each technique looks at it.

    Parameters
    ----------
    lamella
        Sizes and proportions of the lamella.
    eels
        Microscope, spectrometer and detector.
    edx
        Detector, exposure, contamination.
    patterns
        Microscope, precession and camera, by default of 128 x 128 pixels.

    Examples
    --------
    >>> noisy = BatteryOptions(eels=EELSConditions(energy_resolution=1.2))
    >>> micro_battery(shape=(4, 6), options=noisy).conditions.energy_resolution
    1.2
    """

    lamella: LamellaOptions = field(default_factory=LamellaOptions)
    eels: EELSConditions = field(default_factory=EELSConditions)
    edx: XRayConditions = field(default_factory=XRayConditions)
    patterns: DiffractionConditions = field(default_factory=_small_patterns)


def micro_battery(
    shape: tuple[int, int] = (64, 64),
    seed: int = 0,
    dose: float = 1e6,
    *,
    noise_seed: int | None = None,
    noise: bool = True,
    signal_type: str = "EELS",
    edx_signal_type: str = "EDS_TEM",
    options: BatteryOptions | None = None,
) -> MicroBattery:
    """
    Simulate a micro-battery before and after bias.

    Parameters
    ----------
    shape
        Rows and columns of the map, ``(ny, nx)``.
    seed
        Seed of the structure: the same seed and shape give the same lamella.
    dose
        Expected electrons in a spectrum, zero loss included.
    noise_seed
        Seed of noise and zero-loss jitter; by default it follows from `seed`.
    noise
        Whether to draw counts. If not, the signals hold the expectation, jitter included.
    signal_type
        HyperSpy signal type of the EELS spectra.
    edx_signal_type
        HyperSpy signal type of the EDX spectra.
    options
        The lamella, and how each technique looks at it.

    Returns
    -------
    MicroBattery
        Signals `eels_before`, `eels_after`, `edx_before`, `edx_after`, `patterns_before`, `patterns_after` and `truth`.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> battery = micro_battery(shape=(8, 8), seed=1)
    >>> battery.eels_after.axes_manager.navigation_shape
    (8, 8)
    """
    options = options or BatteryOptions()
    conditions = options.eels
    structure_stream, noise_stream, grain_stream, pattern_stream = np.random.SeedSequence(seed).spawn(4)
    if noise_seed is not None:
        noise_stream = np.random.SeedSequence(noise_seed)
        pattern_stream = np.random.SeedSequence((noise_seed, 1))
    before_stream, after_stream = pattern_stream.spawn(2)
    built = build_lamella(shape, np.random.default_rng(structure_stream), options.lamella)
    states, shifts, signals = [], [], []
    for name, state, stream in zip(
        ("before", "after"), (built.before, built.after), noise_stream.spawn(2), strict=True
    ):
        rng = np.random.default_rng(stream)
        columns = state.columns()
        shift = rng.normal(0, conditions.zero_loss_jitter, shape)
        data = simulate_spectra(columns, conditions, rng, dose=dose, zero_loss_shift=shift, noise=noise)
        states.append(replace(state, t_over_lambda=relative_thickness(columns, conditions)))
        shifts.append(shift)
        signals.append(
            spectra_to_signal(
                data,
                conditions,
                pixel_size=built.pixel_size,
                title=f"Virtual micro-battery {name} bias",
                signal_type=signal_type,
            )
        )
    truth = Truth(*states, built.particles, built.pixel_size, *shifts)
    return MicroBattery(
        truth=truth,
        eels_before=signals[0],
        eels_after=signals[1],
        conditions=conditions,
        dose=dose,
        edx_conditions=options.edx,
        # Spawned after those of EELS, which therefore stay as they were.
        edx_streams=tuple(noise_stream.spawn(2)),
        edx_signal_type=edx_signal_type,
        pattern_conditions=options.patterns,
        pattern_seeds={"grains": grain_stream, "before": before_stream, "after": after_stream},
        noise=noise,
    )
