"""How the virtual battery is looked at by diffraction: microscope, precession, camera."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.conditions import ELECTRON_REST_ENERGY

_HC = 12398.419843320026  # eV Å, CODATA 2018


@dataclass(frozen=True)
class DiffractionConditions:
    """
    Conditions of a scan of precession diffraction patterns.

    The pixel (column, row) of a pattern sees the reciprocal vector that :meth:`to_pixels` takes there. What the signal
    says of itself (`stated_scale`, `stated_centre`) may be wrong.

    Attributes
    ----------
    beam_energy
        keV.
    precession_angle
        Half angle of the precession cone in degrees; 0 for a still beam. The descan is perfect.
    convergence_angle
        Half angle of the probe in mrad: the radius of the discs, and a spread of incident directions.
    shape
        Rows and columns of a pattern.
    scale
        1/Å per pixel.
    centre
        Column and row of the direct beam in pixels; None is ``(columns / 2, rows / 2)``.
    ellipticity, ellipse_azimuth
        Ratio of the long to the short axis of what should be a circle, less 1; azimuth of the long axis in degrees from
        +x (columns) towards +y (rows). The outline of a disc stays round.
    scan_rotation
        Azimuth in degrees of the scan's x axis on the camera.
    mirrored
        Whether the camera counts its rows upwards.
    stated_scale, stated_centre
        What the signal's axes say; None is the truth.
    electrons
        Electrons that meet the specimen for each pattern.
    diffracted_electrons
        Expected electrons in the Bragg spots inside each frame, direct beam and background not counted; everything in
        the pattern is scaled with it, and `electrons` is not used. None leaves it to thickness and orientation. A
        pattern without Bragg spots keeps `electrons`.
    direct_beam
        Whether the direct beam is recorded, or stopped.
    point_spread
        Standard deviation in pixels of the spread of single electrons in the camera, at least 0.4.
    gain, dark_offset, read_noise
        Counts for an electron, counts added to every pixel, and their noise (standard deviation).
    dtype
        NumPy type of the recorded patterns; integers are rounded and saturate at their largest value.
    intensity_scatter, scatter_correlation
        Standard deviation of the logarithm of the intensities about those of two beams, as many-beam diffraction makes
        them scatter, and the share of this variance that all grains have in common; the rest belongs to a grain.
    double_scattering
        Share of what is diffracted twice that is drawn where it falls, among the brightest spots: 1 draws all, and so
        also reflections that a glide plane forbids and spots between those of two crystals; 0 leaves it in the spots of
        single diffraction.
    thickness_spread
        Half range of thickness within a pattern, relative.
    diffuse_mean_free_path
        Mean free path in nm of thermal and inelastic scattering out of the spots.
    diffuse_width, diffuse_share
        Half width in 1/Å of the part of that background that is peaked at the direct beam, and its share.
    strain
        Standard deviation of the components of the strain of a grain in a scan.
    descan
        Drift of the direct beam in pixels along x and y of the camera from one side of the scan to the other.
    beam_jitter
        Standard deviation in pixels of the place of the direct beam from one pattern to the next.
    beams
        Incident directions that are summed along the precession circle and within the probe.
    pixel_size
        Of the camera, in µm; with the scale it gives the camera length.

    Examples
    --------
    >>> conditions = DiffractionConditions(beam_energy=200.0)
    >>> round(conditions.wavelength, 5), round(conditions.gamma, 3), round(conditions.camera_length)
    (0.02508, 1.391, 183)
    >>> conditions.direct_beam_position, round(conditions.disc_radius, 1), conditions.projection.shape
    ((128.0, 128.0), 1.7, (2, 2))
    """

    beam_energy: float = 200.0
    precession_angle: float = 0.7
    convergence_angle: float = 0.5
    shape: tuple[int, int] = (256, 256)
    scale: float = 0.012
    centre: tuple[float, float] | None = None
    ellipticity: float = 0.0
    ellipse_azimuth: float = 0.0
    scan_rotation: float = 0.0
    mirrored: bool = False
    stated_scale: float | None = None
    stated_centre: tuple[float, float] | None = None
    electrons: float = 1e4
    diffracted_electrons: float | None = None
    direct_beam: bool = True
    point_spread: float = 0.6
    gain: float = 1.0
    dark_offset: float = 0.0
    read_noise: float = 0.0
    dtype: str = "uint16"
    intensity_scatter: float = 0.5
    scatter_correlation: float = 0.3
    double_scattering: float = 1.0
    thickness_spread: float = 0.05
    diffuse_mean_free_path: float = 300.0
    diffuse_width: float = 0.08
    diffuse_share: float = 0.6
    strain: float = 0.002
    descan: tuple[float, float] = (2.0, -1.5)
    beam_jitter: float = 0.2
    beams: int = 64
    pixel_size: float = 55.0

    def __post_init__(self) -> None:
        for name in ("beam_energy", "scale", "diffuse_mean_free_path", "diffuse_width", "gain", "pixel_size"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise AssbValueError(f"{name} must be above 0, not {value}")
        for name in (
            "precession_angle",
            "convergence_angle",
            "ellipticity",
            "electrons",
            "read_noise",
            "intensity_scatter",
            "thickness_spread",
            "strain",
            "beam_jitter",
        ):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise AssbValueError(f"{name} must not be below 0, but is {value}")
        for name in ("scatter_correlation", "double_scattering", "diffuse_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise AssbValueError(f"{name} is a share, from 0 to 1, not {getattr(self, name)}")
        if self.point_spread < 0.4:
            raise AssbValueError(f"point_spread must be at least 0.4 pixels, not {self.point_spread}")
        if self.beams < 1 or min(self.shape) < 8:
            raise AssbValueError(f"at least 1 beam and patterns of 8 x 8 pixels, not {self.beams} and {self.shape}")

    @property
    def wavelength(self) -> float:
        """Å, relativistic."""
        energy = 1e3 * self.beam_energy
        return float(_HC / np.sqrt(energy * (energy + 2 * ELECTRON_REST_ENERGY)))

    @property
    def gamma(self) -> float:
        """Lorentz factor."""
        return 1 + 1e3 * self.beam_energy / ELECTRON_REST_ENERGY

    @property
    def direct_beam_position(self) -> tuple[float, float]:
        """Column and row of the direct beam in pixels."""
        return (self.shape[1] / 2, self.shape[0] / 2) if self.centre is None else self.centre

    @property
    def disc_radius(self) -> float:
        """Radius of the discs in pixels."""
        return 1e-3 * self.convergence_angle / self.wavelength / self.scale

    @property
    def camera_length(self) -> float:
        """Camera length in mm that the stated scale means."""
        scale = self.scale if self.stated_scale is None else self.stated_scale
        return float(1e-3 * self.pixel_size / np.tan(scale * self.wavelength))

    @property
    def projection(self) -> np.ndarray:
        """Matrix ``(2, 2)`` from x and y of the specimen in 1/Å to columns and rows in pixels."""
        turn, long = np.deg2rad(self.scan_rotation), np.deg2rad(self.ellipse_azimuth)
        rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        flip = np.diag([1.0, -1.0 if self.mirrored else 1.0])
        axes = np.array([[np.cos(long), -np.sin(long)], [np.sin(long), np.cos(long)]])
        root = np.sqrt(1 + self.ellipticity)
        return axes @ np.diag([root, 1 / root]) @ axes.T @ flip @ rotation / self.scale

    def to_pixels(self, vectors: np.ndarray) -> np.ndarray:
        """
        Places of reciprocal vectors of the specimen in a pattern.

        Parameters
        ----------
        vectors
            x and y (or x, y and z) in 1/Å in the frame of the specimen, ``(..., 2)``.

        Returns
        -------
        numpy.ndarray
            Column and row in pixels, ``(..., 2)``.

        Examples
        --------
        >>> DiffractionConditions().to_pixels(np.zeros((1, 2)))
        array([[128., 128.]])
        """
        return np.asarray(vectors, dtype=float)[..., :2] @ self.projection.T + self.direct_beam_position

    def with_shape(self, shape: tuple[int, int]) -> DiffractionConditions:
        """
        Conditions of a camera with other pixels for the same field of view.

        Parameters
        ----------
        shape
            Rows and columns; the field of view across the columns stays the same.

        Returns
        -------
        DiffractionConditions
            Scale, centre, stated calibration, descan and pixel size go with it.

        Examples
        --------
        >>> small = DiffractionConditions().with_shape((64, 64))
        >>> small.shape, small.scale > DiffractionConditions().scale
        ((64, 64), True)
        """
        factor = self.shape[1] / shape[1]

        def place(value: tuple[float, float] | None) -> tuple[float, float] | None:
            return None if value is None else (value[0] / factor, value[1] / factor)

        return replace(
            self,
            shape=shape,
            scale=self.scale * factor,
            centre=place(self.centre),
            stated_scale=None if self.stated_scale is None else self.stated_scale * factor,
            stated_centre=place(self.stated_centre),
            descan=(self.descan[0] / factor, self.descan[1] / factor),
            beam_jitter=self.beam_jitter / factor,
            pixel_size=self.pixel_size * factor,
        )
