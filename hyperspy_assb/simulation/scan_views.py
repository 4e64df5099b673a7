"""A state of the lamella as a scan with a frame of its own sees it: other pixels, turned, and somewhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.simulation.lamella import FEPO4, LIFEPO4
from hyperspy_assb.simulation.state import LamellaState


@dataclass(frozen=True)
class ScanView:
    """
    Where a scan lies on the lamella.

    Attributes
    ----------
    shape
        Rows and columns.
    pixel_size
        nm.
    angle
        Degrees by which its rows are turned from x towards y.
    middle
        y and x of its middle in nm, in the frame of the lamella.

    Examples
    --------
    >>> view = ScanView((2, 2), 10.0, middle=(30.0, 40.0))
    >>> view.places()[0, 0].tolist()
    [25.0, 35.0]
    """

    shape: tuple[int, int]
    pixel_size: float
    angle: float = 0.0
    middle: tuple[float, float] = (0.0, 0.0)

    def places(self, parts: int = 1) -> np.ndarray:
        """y and x in nm of places in every pixel, ``(parts ny, parts nx, 2)``."""
        ny, nx = (parts * n for n in self.shape)
        step = self.pixel_size / parts
        down, right = np.meshgrid(
            (np.arange(ny) - 0.5 * (ny - 1)) * step, (np.arange(nx) - 0.5 * (nx - 1)) * step, indexing="ij"
        )
        cos, sin = np.cos(np.deg2rad(self.angle)), np.sin(np.deg2rad(self.angle))
        return np.stack([self.middle[0] + cos * down + sin * right, self.middle[1] + cos * right - sin * down], -1)


def seen_by(state: LamellaState, pixel_size: float, view: ScanView) -> LamellaState:
    """
    A state in the pixels of another scan, from the samples that lie nearest to the places of its pixels.

    Parameters
    ----------
    state
        With four places a pixel.
    pixel_size
        nm, of the state.
    view
        The scan.

    Returns
    -------
    LamellaState
        Without t/lambda.

    Raises
    ------
    AssbValueError
        If the scan reaches beyond the state.

    Examples
    --------
    >>> from hyperspy_assb.simulation import micro_battery
    >>> truth = micro_battery(shape=(8, 8), seed=6).truth
    >>> whole = ScanView((8, 8), truth.pixel_size, middle=(4 * truth.pixel_size,) * 2)
    >>> same = seen_by(truth.after, truth.pixel_size, whole)
    >>> bool((same.sample_material == truth.after.sample_material).all())
    True
    """
    ny, nx = state.thickness.shape
    at = np.floor(view.places(2) / (0.5 * pixel_size) + 1e-9).astype(int)
    if (at < 0).any() or (at >= np.array([2 * ny, 2 * nx])).any():
        raise AssbValueError("The scan reaches beyond the lamella: make it smaller, or move it.")
    row, column = at[..., 0], at[..., 1]

    def of_samples(values: np.ndarray) -> np.ndarray:
        lattice = values.reshape(ny, nx, 2, 2, -1).transpose(0, 2, 1, 3, 4).reshape(2 * ny, 2 * nx, -1)
        return _by_pixel(lattice[row, column])

    def of_pixels(values: np.ndarray) -> np.ndarray:
        return _by_pixel(values[row // 2, column // 2][..., None])

    material = of_samples(state.sample_material)
    particle = np.repeat(of_pixels(state.particle_id), material.shape[-1] // 4, axis=-1)
    return LamellaState.from_samples(
        material,
        of_samples(state.sample_grain),
        np.where(np.isin(material, (LIFEPO4, FEPO4)), particle, 0),
        grain_orientations=state.grain_orientations,
        thickness=of_pixels(state.thickness).mean(axis=-1),
        carbon_film=of_pixels(state.carbon_film).mean(axis=-1),
    )


def _by_pixel(places: np.ndarray) -> np.ndarray:
    """Values at 2 x 2 places a pixel, ``(2 ny, 2 nx, n)``, as ``(ny, nx, 4 n)``."""
    ny, nx = places.shape[0] // 2, places.shape[1] // 2
    return places.reshape(ny, 2, nx, 2, -1).transpose(0, 2, 1, 3, 4).reshape(ny, nx, -1)
