"""Templates: the spots of every phase in every orientation, and how much a spot counts in search and refinement."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb import staging
from hyperspy_assb.acom.crystals.crystal_phase import CrystalPhase, laue_rotations, load_phase, pack_phase, unpack_phase
from hyperspy_assb.acom.crystals.frames import multiply, upper
from hyperspy_assb.acom.crystals.kinematical import Diffraction, simulate_spots
from hyperspy_assb.acom.templates.zone_axes import towards, zone_axes
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbValueError
from hyperspy_assb.fitting.expressions.expression_shapes import cache_directory
from hyperspy_assb.fitting.spectra.line_shape import FloatArray
from hyperspy_assb.progress import Report, progress_bar

_ALGORITHM = 1
"""To be raised with every change of what a bank holds: older ones on disk are then not found."""
_ARRAYS = ("phase", "orientations", "radius", "azimuth", "intensity", "count")
_NUMBERS = (
    "beam_energy",
    "precession_angle",
    "max_radius",
    "resolution",
    "excitation_width",
    "max_excitation_error",
    "min_intensity",
)


class SpotWeighting(NamedTuple):
    """Weights ``I**intensity * q**radius`` of spots of intensity I at a radius q.

    High powers of the intensity make a few strong spots decide, whose intensities are the least kinematical ones.

    Parameters
    ----------
    intensity, radius
        Powers.
    """

    intensity: float = 0.3
    radius: float = 0.5

    def of(self, intensity: FloatArray, radius: FloatArray) -> FloatArray:
        """Weights of spots, 0 where there is none, any shape."""
        lit = intensity > 0.0
        return np.where(lit, np.where(lit, intensity, 1.0) ** self.intensity * radius**self.radius, 0.0)


@dataclass(frozen=True)
class BankOptions:
    """Which spots templates have.

    Parameters
    ----------
    min_intensity
        Spots below this share of the brightest of their pattern are left out.
    max_spots
        At most so many spots of each pattern, the brightest.
    excitation_width, max_excitation_error
        In 1/Å; see :class:`~hyperspy_assb.acom.crystals.kinematical.Diffraction`.

    Examples
    --------
    >>> from hyperspy_assb.acom import BankOptions, simulate_bank
    >>> bank = simulate_bank("lfp", resolution=5.0, max_radius=0.8, options=BankOptions(max_spots=24))
    >>> bank.radius.shape[1]
    24
    """

    min_intensity: float = 1e-4
    max_spots: int = 64
    excitation_width: float = Diffraction.excitation_width
    max_excitation_error: float = Diffraction.max_excitation_error

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_intensity < 1.0:
            raise AssbValueError(f"min_intensity: from 0 to 1, not {self.min_intensity}.")
        if self.max_spots < 1:
            raise AssbValueError(f"max_spots: 1 or more, not {self.max_spots}.")


@dataclass(frozen=True)
class TemplateBank:
    """Kinematical patterns of N orientations of some phases, each of up to K spots.

    In-plane rotation and the mirror image are left to the search: of all orientations whose zone axes are equivalent
    under the Laue group (inversion included), one is in the bank. A template turned by an angle is the pattern of
    :func:`~hyperspy_assb.acom.crystals.frames.turn_pattern`, and its mirror image that of
    :attr:`mirrored_orientations`.

    Parameters
    ----------
    phases
        What the templates are of.
    phase
        Index into `phases` of each template, ascending, shape (N,).
    orientations
        Specimen to crystal, shape (N, 4); see ``frames``.
    radius
        Length of the reciprocal vectors in the plane of the pattern in 1/Å, 0 where there is no spot, shape (N, K).
    azimuth
        In radians from +x towards +y, shape (N, K).
    intensity
        Kinematical intensity in Å², averaged over the precession, brightest first, 0 where there is no spot, shape
        (N, K).
    count
        Spots of each template, shape (N,).
    beam_energy
        keV.
    precession_angle
        Degrees.
    max_radius
        1/Å.
    resolution
        Degrees between neighbouring zone axes.
    excitation_width, max_excitation_error
        See :class:`~hyperspy_assb.acom.crystals.kinematical.Diffraction`.
    min_intensity
        Spots below this share of the brightest one were left out.
    diffraction
        Energy, precession and range, for :func:`~hyperspy_assb.acom.crystals.kinematical.simulate_spots`.

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> bank = simulate_bank("lfp", resolution=5.0, max_radius=0.8)
    >>> bank.radius.shape == bank.azimuth.shape == (len(bank), bank.radius.shape[1])
    True
    >>> bank.mirrored_orientations.shape == bank.orientations.shape
    True
    """

    phases: tuple[CrystalPhase, ...]
    phase: NDArray[Any]
    orientations: FloatArray
    radius: FloatArray
    azimuth: FloatArray
    intensity: FloatArray
    count: NDArray[Any]
    beam_energy: float
    precession_angle: float
    max_radius: float
    resolution: float
    excitation_width: float = Diffraction.excitation_width
    max_excitation_error: float = Diffraction.max_excitation_error
    min_intensity: float = 0.0
    diffraction: Diffraction = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        found = Diffraction(
            beam_energy=self.beam_energy,
            precession_angle=self.precession_angle,
            max_radius=self.max_radius,
            excitation_width=self.excitation_width,
            max_excitation_error=self.max_excitation_error,
        )
        object.__setattr__(self, "diffraction", found)

    def __len__(self) -> int:
        return len(self.phase)

    @property
    def mirrored_orientations(self) -> FloatArray:
        """Orientations whose patterns are those of the templates with y reversed, shape (N, 4).

        See ``mirror``.
        """
        return mirror(self.orientations)

    def select(self, name: str) -> TemplateBank:
        """Take the templates of one phase.

        Parameters
        ----------
        name
            Of the phase.

        Returns
        -------
        TemplateBank
            Of that phase alone.

        Raises
        ------
        ValueError
            If the bank has no phase of that name.

        Examples
        --------
        >>> from hyperspy_assb.acom import simulate_bank
        >>> bank = simulate_bank(["lfp", "fp"], resolution=5.0, max_radius=0.8)
        >>> [phase.name for phase in bank.select("FePO4").phases]
        ['FePO4']
        """
        names = [phase.name for phase in self.phases]
        if name not in names:
            raise AssbValueError(f"no phase {name!r} in the bank; there are: {', '.join(names)}.")
        index = names.index(name)
        of_phase = self.phase == index
        arrays = {key: getattr(self, key)[of_phase] for key in _ARRAYS if key != "phase"}
        return replace(self, phases=(self.phases[index],), phase=np.zeros(of_phase.sum(), dtype=np.int64), **arrays)

    def save(self, path: str | Path) -> Path:
        """Write to a file, whole or not at all.

        Parameters
        ----------
        path
            Ending in .npz, which is added otherwise.

        Returns
        -------
        pathlib.Path
            Of the file.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hyperspy_assb.acom import TemplateBank, simulate_bank
        >>> bank = simulate_bank("lfp", resolution=5.0, max_radius=0.8)
        >>> path = bank.save(Path(tempfile.mkdtemp()) / "bank")
        >>> len(TemplateBank.load(path)) == len(bank)
        True
        """
        path = Path(path)
        path = path if path.suffix == ".npz" else path.with_name(path.name + ".npz")
        content: dict[str, Any] = {key: getattr(self, key) for key in _ARRAYS}
        content["numbers"] = np.array([getattr(self, key) for key in _NUMBERS])
        for i, phase in enumerate(self.phases):
            content |= {f"phase{i}_{key}": value for key, value in pack_phase(phase).items()}
        with staging.whole_file(path) as part, part.open("xb") as file:
            np.savez(file, **content)
        return path

    @classmethod
    def load(cls, path: str | Path) -> TemplateBank:
        """Read what :meth:`save` wrote.

        Parameters
        ----------
        path
            Of the file.

        Returns
        -------
        TemplateBank
            As it was saved.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is not such a file, or a damaged one.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from hyperspy_assb.acom import TemplateBank, simulate_bank
        >>> path = simulate_bank("lfp", resolution=5.0, max_radius=0.8).save(Path(tempfile.mkdtemp()) / "bank.npz")
        >>> TemplateBank.load(path).resolution
        5.0
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {key: file[key] for key in file.files}
            packed: dict[int, dict[str, NDArray[Any]]] = {}
            for key, value in content.items():
                if key.startswith("phase") and "_" in key:
                    number, name = key.removeprefix("phase").split("_", 1)
                    packed.setdefault(int(number), {})[name] = value
            phases = tuple(unpack_phase(packed[i]) for i in range(len(packed)))
            numbers = dict(zip(_NUMBERS, content["numbers"].tolist(), strict=True))
            bank = cls(phases=phases, **{key: content[key] for key in _ARRAYS}, **numbers)
            if not phases or {len(getattr(bank, key)) for key in _ARRAYS} != {len(bank)}:
                raise AssbValueError("the arrays do not belong together")
        except FileNotFoundError as error:
            raise AssbFileNotFoundError(f"There is no file {path}: check its name and folder.") from error
        # Damaged archives raise more than zipfile names: RuntimeError for a bit that says encrypted, MemoryError ...
        except Exception as error:
            raise AssbFileError(f"{path}: not a template bank, or a damaged one ({error}).") from error
        return bank


def mirror(orientations: FloatArray) -> FloatArray:
    """Orientations whose patterns are those of others with y reversed, shape (..., 4).

    The reflection -g of the crystal, turned by 180 degrees about the specimen's y, is seen where g was, with y reversed
    and at the same height over the Ewald sphere. Since g and -g have the same intensity (exactly in a centrosymmetric
    crystal, in kinematical theory in any), the patterns are equal, precession included. The zone axis is reversed.
    """
    return upper(multiply(orientations, np.array([0.0, 0.0, 1.0, 0.0])))


def simulate_bank(
    phases: Sequence[CrystalPhase | str | Path] | CrystalPhase | str | Path,
    *,
    resolution: float = 1.0,
    beam_energy: float = 200.0,
    precession_angle: float = 0.7,
    max_radius: float = 1.5,
    options: BankOptions | None = None,
    cache: bool = True,
    show_progressbar: bool | None = None,
) -> TemplateBank:
    """Simulate the patterns of phases in all orientations.

    Parameters
    ----------
    phases
        Phases, names of reference phases or paths of CIFs
        (:func:`~hyperspy_assb.acom.crystals.crystal_phase.load_phase`), or one.
    resolution
        Degrees between neighbouring zone axes.
    beam_energy
        keV.
    precession_angle
        Half angle of the cone in degrees.
    max_radius
        Longest reciprocal vector in 1/Å.
    options
        Which spots templates have.
    cache
        Whether to keep the bank on disk (in the directory of ``HYPERSPY_ASSB_CACHE_DIR``, or the user's for caches)
        and to take it from there. Files are found by a hash of everything that the bank depends on.
    show_progressbar
        Whether a progress bar counts the phases; HyperSpy's preference by default.

    Returns
    -------
    bank
        Zone axes cover the asymmetric sector of the Laue group: with rotations in the plane and the mirror image,
        every orientation is there exactly once, but for equivalent ones and for those on the borders of the sector.
        (All orientations with zone axis d differ by a rotation in the plane; the mirror image turns d into -d; the
        proper rotations of the Laue group and -1 bring any d into the sector.)

    Raises
    ------
    ValueError
        If a number is not possible, two phases have one name, or a phase has no reflection in range.

    Notes
    -----
    Kinematical intensities averaged over the precession, each reflection a rod of finite width. Template matching of
    precession patterns: E. F. Rauch, L. Dupuy, Arch. Metall. Mater. 50, 87 (2005).

    Examples
    --------
    >>> from hyperspy_assb.acom import simulate_bank
    >>> bank = simulate_bank(["lfp", "fp"], resolution=5.0, max_radius=0.8)
    >>> [phase.name for phase in bank.phases], len(bank) > 100
    (['LiFePO4', 'FePO4'], True)
    """
    with progress_bar("templates", show_progressbar) as report:
        return bank_in_stages(
            phases,
            resolution,
            beam_energy=beam_energy,
            precession_angle=precession_angle,
            max_radius=max_radius,
            options=options,
            cache=cache,
            report=lambda name, done, total: report(f"templates {name}".strip(), done, total),
        )


def bank_in_stages(
    phases: Sequence[CrystalPhase | str | Path] | CrystalPhase | str | Path,
    resolution: float = 1.0,
    *,
    beam_energy: float,
    precession_angle: float,
    max_radius: float,
    options: BankOptions | None = None,
    cache: bool = True,
    report: Report,
) -> TemplateBank:
    """What :func:`simulate_bank` does, telling how far it is.

    ``report`` is called with the name of a phase, how many are done and how many there are, before each phase and at
    the end.
    """
    options = options or BankOptions()
    if isinstance(phases, CrystalPhase | str | Path):
        phases = [phases]
    loaded = tuple(phase if isinstance(phase, CrystalPhase) else load_phase(phase) for phase in phases)
    names = [phase.name for phase in loaded]
    if not loaded or len(set(names)) < len(names):
        raise AssbValueError(f"phases: one or more, each with its own name, not {names}.")
    if not 0.1 <= resolution <= 15.0:
        raise AssbValueError(f"resolution: from 0.1 to 15 degrees, not {resolution}.")
    diffraction = Diffraction(
        beam_energy=beam_energy,
        precession_angle=precession_angle,
        max_radius=max_radius,
        excitation_width=options.excitation_width,
        max_excitation_error=options.max_excitation_error,
    )
    parts = []
    for i, phase in enumerate(loaded):
        report(phase.name, i, len(loaded))
        parts.append(_of_phase(phase, diffraction, resolution, options, cache=cache))
    report("", len(loaded), len(loaded))
    return _joined(parts)


def _of_phase(
    phase: CrystalPhase,
    diffraction: Diffraction,
    resolution: float,
    options: BankOptions,
    *,
    cache: bool,
) -> TemplateBank:
    file = None
    if cache:
        content = (_ALGORITHM, astuple(diffraction), resolution, options.min_intensity, options.max_spots)
        key = hashlib.sha256(repr(content).encode())
        for name, value in sorted(pack_phase(phase).items()):
            key.update(name.encode() + np.ascontiguousarray(value).tobytes())
        file = cache_directory("templates") / f"{key.hexdigest()[:32]}.npz"
        # Damaged, or gone by now: it is made again.
        with contextlib.suppress(ValueError, OSError):
            return TemplateBank.load(file)
    orientations = upper(towards(zone_axes(laue_rotations(phase), resolution)))
    spots = simulate_spots(
        phase,
        orientations,
        diffraction=diffraction,
        min_intensity=options.min_intensity,
        max_spots=options.max_spots,
    )
    lit = spots.count > 0
    bank = TemplateBank(
        phases=(phase,),
        phase=np.zeros(lit.sum(), dtype=np.int64),
        orientations=orientations[lit],
        radius=spots.radius[lit],
        azimuth=spots.azimuth[lit],
        intensity=spots.intensity[lit],
        count=spots.count[lit],
        beam_energy=diffraction.beam_energy,
        precession_angle=diffraction.precession_angle,
        max_radius=diffraction.max_radius,
        resolution=resolution,
        excitation_width=diffraction.excitation_width,
        max_excitation_error=diffraction.max_excitation_error,
        min_intensity=options.min_intensity,
    )
    if file is not None:
        with contextlib.suppress(OSError):  # a full or read-only disk costs time only
            bank.save(file)
    return bank


def _joined(parts: list[TemplateBank]) -> TemplateBank:
    widest = max(part.radius.shape[1] for part in parts)

    def wide(values: FloatArray) -> FloatArray:
        return np.pad(values, ((0, 0), (0, widest - values.shape[1])))

    return replace(
        parts[0],
        phases=tuple(phase for part in parts for phase in part.phases),
        phase=np.repeat(np.arange(len(parts)), [len(part) for part in parts]),
        orientations=np.concatenate([part.orientations for part in parts]),
        radius=np.concatenate([wide(part.radius) for part in parts]),
        azimuth=np.concatenate([wide(part.azimuth) for part in parts]),
        intensity=np.concatenate([wide(part.intensity) for part in parts]),
        count=np.concatenate([part.count for part in parts]),
    )
