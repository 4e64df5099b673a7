"""Whether an electrode is two phases side by side or a solid solution: by the distribution of x, and by line shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eels.delithiation.mixing import BETWEEN, MixtureComparison, MixtureStatus
from hyperspy_assb.eels.delithiation.populations import Populations, PopulationStatus
from hyperspy_assb.fitting.statistics.mixtures import Mixture
from hyperspy_assb.reference import Electrode
from hyperspy_assb.signals.result import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SENTENCES = {
    PopulationStatus.ONE_PHASE: "{} is one phase by the distribution of x",
    PopulationStatus.SOLID_SOLUTION: "{} is a solid solution by the distribution of x",
    PopulationStatus.TWO_PHASE: "{} is two-phase by the distribution of x",
    PopulationStatus.UNDECIDED: ("The distribution of x does not decide whether {} is two-phase or a solid solution"),
}


@dataclass(frozen=True, eq=False)
class DelithiationPopulations(Result):
    """What the distribution of x in a region says: two phases, one, or a solid solution.

    Parameters
    ----------
    found
        The readings of the distribution; see :class:`~hyperspy_assb.eels.delithiation.populations.Populations`.
    electrode
        The electrode with its two end members.
    fraction, fraction_std
        Lithiated fraction of the pixels of the region and its standard error from counting, shape (S,); NaN where
        there is none.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.eels.delithiation.populations import fit_populations
    >>> from hyperspy_assb.reference import electrode
    >>> from hyperspy_assb.signals.eels.phase_coexistence import DelithiationPopulations
    >>> fraction, std = np.append(np.zeros(60), np.ones(140)), np.full(200, 0.1)
    >>> fraction = fraction + np.random.default_rng(0).normal(0.0, std)
    >>> sodium = electrode("NaxV2(PO4)3")
    >>> populations = DelithiationPopulations(fit_populations(fraction, std), sodium, fraction, std)
    >>> print(populations.summary())
    NaxV2(PO4)3 is two-phase by the distribution of x (ΔBIC 369, 200 pixels): NaV2(PO4)3 in 30.0 ± 3.2 % of the
    pixels at x = 1.015 ± 0.026, Na3V2(PO4)3 in 70.0 ± 3.2 % of the pixels at x = 2.998 ± 0.017.
    >>> print(populations.status)
    two-phase
    """

    found: Populations
    electrode: Electrode
    fraction: NDArray[np.float64] = field(repr=False)
    fraction_std: NDArray[np.float64] = field(repr=False)

    @property
    def status(self) -> PopulationStatus:
        """Which reading of the distribution holds."""
        return self.found.status

    def summary(self) -> str:
        """Which reading holds, with shares and positions of the populations, and the notes."""
        reading, sentence = self.found.accepted, _SENTENCES[self.status].format(self.electrode.name)
        text = f"{sentence} (ΔBIC {self.found.bic_difference:.0f}, {self.found.n_pixels} pixels)"
        if self.status is PopulationStatus.TWO_PHASE:
            parts = [
                f"{name} in {_told(reading.share[k], reading.share_std[k], 100.0)} % of the pixels at x = "
                f"{self._position(reading, k)}"
                for k, name in enumerate((self.electrode.delithiated, self.electrode.lithiated))
            ]
            if reading.bridge:
                parts.append(f"columns with both in {_told(reading.share[2], reading.share_std[2], 100.0)} %")
            text += ": " + ", ".join(parts)
        elif self.status is not PopulationStatus.UNDECIDED:
            width = _told(reading.width[0], reading.width_std[0], self.electrode.ions_removed)
            text += f": x = {self._position(reading, 0)}, of the width {width}"
        return "\n".join((text + ".", *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot the distribution of x with its populations.

        Parameters
        ----------
        ax
            Axes to draw on; new ones if None.

        Returns
        -------
        matplotlib.axes.Axes
            The axes; which reading holds stands in the title.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.eels.delithiation.populations import fit_populations
        >>> from hyperspy_assb.reference import electrode
        >>> fraction, std = np.append(np.zeros(60), np.ones(140)), np.full(200, 0.1)
        >>> fraction = fraction + np.random.default_rng(0).normal(0.0, std)
        >>> found = fit_populations(fraction, std)
        >>> populations = DelithiationPopulations(found, electrode("LixFePO4"), fraction, std)
        >>> populations.plot().get_title(loc="left")
        'Two-phase (ΔBIC = 369)'
        """
        from hyperspy_assb.plotting.populations import plot_populations

        return plot_populations(self, ax=ax)

    def _position(self, reading: Mixture, k: int) -> str:
        x, std = self.electrode.x_of(float(reading.mean[k])), self.electrode.ions_removed * float(reading.mean_std[k])
        return _with_std(x, std)

    def _pixel_columns(self) -> Mapping[str, Any]:
        rows = []
        for name, reading in (("one", self.found.one), ("two", self.found.two), ("bridged", self.found.bridged)):
            for k in range(reading.share.size):
                bridge = k >= reading.mean.size
                rows.append(
                    {
                        "reading": name,
                        "population": "columns with both" if bridge else self._name(reading, k),
                        "share": reading.share[k],
                        "share_std": reading.share_std[k],
                        "x": np.nan if bridge else self.electrode.x_of(reading.mean[k]),
                        "x_std": np.nan if bridge else self.electrode.ions_removed * reading.mean_std[k],
                        "width": np.nan if bridge else self.electrode.ions_removed * reading.width[k],
                        "width_std": np.nan if bridge else self.electrode.ions_removed * reading.width_std[k],
                        "bic": reading.bic,
                    }
                )
        return {key: np.array([row[key] for row in rows]) for key in rows[0]}

    def _name(self, reading: Mixture, k: int) -> str:
        return (self.electrode.delithiated, self.electrode.lithiated)[k] if reading.mean.size > 1 else "all"

    def _shown(self) -> Any:
        signal = hs.signals.Signal1D(self.electrode.x_of(self.fraction))
        signal.metadata.General.title = f"x in {self.electrode.name}"
        return signal


@dataclass(frozen=True, eq=False)
class DelithiationMixtures(Result):
    """Whether spectra of intermediate x are mixtures of those of the end members.

    Parameters
    ----------
    found
        What lies off the straight line between the end members; see
        :class:`~hyperspy_assb.eels.delithiation.mixing.MixtureComparison`.
    electrode
        The electrode with its two end members.

    Examples
    --------
    Of a virtual electrode, in which one of two parameters of the line shape lies off the line:

    >>> import numpy as np
    >>> from hyperspy_assb.eels.delithiation.mixing import MixtureComparison
    >>> from hyperspy_assb.reference import electrode
    >>> from hyperspy_assb.signals.eels.phase_coexistence import DelithiationMixtures
    >>> names, away, std = ("plasmon_energy", "band_area"), np.array([0.01, 0.4]), np.array([0.02, 0.05])
    >>> found = MixtureComparison(names, away, std, np.ones(2), p_value=1e-6, n_intermediate=40, n_pixels=200)
    >>> mixtures = DelithiationMixtures(found, electrode("LixFePO4"))
    >>> print(mixtures.status)
    their own line shape
    >>> print(mixtures.summary())
    40 of 200 pixels have x between 0.2 and 0.8; their spectra have their own line shape (p = 1e-06).
    """

    found: MixtureComparison
    electrode: Electrode

    @property
    def status(self) -> MixtureStatus:
        """What the spectra are: mixtures, of their own line shape, or too few to tell."""
        return self.found.status

    def summary(self) -> str:
        """How many pixels have an intermediate x, what their spectra are, and the notes."""
        found, ends = self.found, [f"{self.electrode.x_of(end):g}" for end in BETWEEN]
        text = f"{found.n_intermediate} of {found.n_pixels} pixels have x between {' and '.join(ends)}"
        if self.status is MixtureStatus.UNDECIDED:
            text += ": too few to decide whether their spectra are mixtures of the end members."
        else:
            verb = "have" if self.status is MixtureStatus.OWN_SHAPE else "are"
            text += f"; their spectra {verb} {self.status} (p = {found.p_value:.2g})."
        return "\n".join((text, *self.notes))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Plot what lies off the straight line, for each parameter of the line shape.

        Parameters
        ----------
        ax
            Axes to draw on; new ones if None.

        Returns
        -------
        matplotlib.axes.Axes
            One bar a parameter, in standard errors.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.eels.delithiation.mixing import MixtureComparison
        >>> from hyperspy_assb.reference import electrode
        >>> names, away, std = ("plasmon_energy", "band_area"), np.array([0.01, 0.4]), np.array([0.02, 0.05])
        >>> found = MixtureComparison(names, away, std, np.ones(2), p_value=1e-6, n_intermediate=40, n_pixels=200)
        >>> ax = DelithiationMixtures(found, electrode("LixFePO4")).plot()
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['plasmon energy', 'band area']
        """
        from hyperspy_assb.plotting.populations import plot_mixture_comparison

        return plot_mixture_comparison(self, ax=ax)

    def _pixel_columns(self) -> Mapping[str, Any]:
        names = ("curvature", "curvature_std", "contrast")
        return {"parameter": np.array(self.found.names)} | {name: getattr(self.found, name) for name in names}

    def _shown(self) -> Any:
        signal = hs.signals.Signal1D(self.found.curvature)
        signal.metadata.General.title = "Distance from the straight line between the end members"
        signal.metadata.set_item("ASSB.quantities", list(self.found.names))
        return signal


def _told(value: float, std: float, unit: float) -> str:
    return _with_std(unit * float(value), unit * float(std))


def _with_std(value: float, std: float) -> str:
    from hyperspy_assb.plotting.style import with_error

    return with_error(value, std)
