"""What a fit of many spectra leaves, over energy."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from hyperspy_assb.plotting.style import COLOURS, QUIET


def plot_residual_image(
    energy: ArrayLike, residuals: ArrayLike, *, unit: str = "eV", axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """Plot standardised residuals of many spectra as an image, and their mean below.

    Structure along the energy is not described by the model; noise has no structure. The band is where the mean of as
    many independent normal deviates lies in 95 % of the channels.

    Parameters
    ----------
    energy
        Energies of the channels, shape (E,).
    residuals
        Counts minus expectation, over their standard deviation, shape (S, E).
    unit
        Unit of the energies.
    axes
        Axes for the image and for the mean; new ones if None.

    Returns
    -------
    image, mean
        The two axes.

    Examples
    --------
    >>> image, mean = plot_residual_image(np.arange(50.0), np.random.default_rng(1).normal(size=(20, 50)))
    >>> mean.get_xlabel()
    'energy (eV)'
    """
    if axes is None:
        _, axes = plt.subplots(2, 1, figsize=(6.4, 4.6), sharex=True, height_ratios=(3, 2), layout="constrained")
    top, bottom = axes
    energy, residuals = np.asarray(energy, dtype=float), np.asarray(residuals, dtype=float)
    image = top.imshow(
        residuals,
        aspect="auto",
        interpolation="nearest",
        cmap="RdBu_r",
        vmin=-4.0,
        vmax=4.0,
        extent=(energy[0], energy[-1], len(residuals) - 0.5, -0.5),
        rasterized=True,
    )
    top.figure.colorbar(image, ax=top, label="residual (standard deviations)")
    top.set_ylabel("spectrum")
    half = 1.96 / np.sqrt(max(len(residuals), 1))
    bottom.axhspan(-half, half, color=QUIET, alpha=0.3, linewidth=0)
    bottom.plot(energy, np.nanmean(residuals, axis=0), color=COLOURS[0], linewidth=1.0)
    bottom.set_ylabel("mean residual\n(standard deviations)")
    bottom.set_xlabel(f"energy ({unit})" if unit else "energy")
    bottom.set_xlim(energy[0], energy[-1])
    bottom.spines[["top", "right"]].set_visible(False)
    return top, bottom
