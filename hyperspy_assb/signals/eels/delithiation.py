"""Delithiation of a spectrum image: x in every pixel by every method, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.delithiation.end_members import check_method
from hyperspy_assb.eels.delithiation.lithiated_fraction import DETECTION_LIMIT, UNRELIABLE
from hyperspy_assb.eels.delithiation.mixing import compare_pixels_with_mixture
from hyperspy_assb.eels.delithiation.populations import fit_populations
from hyperspy_assb.eels.delithiation.prediction import dose_to_find, predict_estimate
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.signals.eels.delithiation_maps import DelithiationMaps
from hyperspy_assb.signals.eels.phase_coexistence import DelithiationMixtures, DelithiationPopulations
from hyperspy_assb.signals.region_mask import region_mask


@dataclass(frozen=True, eq=False, repr=False)
class Delithiation(DelithiationMaps):
    """x of an electrode in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        What was found by every method, as arrays; see
        :class:`~hyperspy_assb.eels.delithiation.quantification.Quantification`.
    electrode
        The electrode with its two end members.
    method
        The method whose maps are shown; :meth:`with_method` shows another.
    standard
        The calibration, which serves other signals of the same specimen as well: pass this object as ``references``.
        None for the built-in calibration by cross-sections, which holds "lithium" alone.
    references
        Pure pixels, boolean arrays on the navigation axes.
    found_by_computed
        Whether these were found in the map by computed spectra, and not named by anyone.

    Examples
    --------
    >>> import numpy as np
    >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
    >>> from hyperspy_assb.simulation.battery import spectra_to_signal
    >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
    >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
    >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
    >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
    >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
    >>> d
    Delithiation(LixFePO4, method='combined', calibration='references')
    >>> d.x.data.shape, d.x.metadata.General.title
    ((18,), 'x in LixFePO4')
    >>> print(d.summary().splitlines()[0])
    x in LixFePO4 is 0.48... ± ... (counting) ± ... (systematic), by ...: mean over formula units of 18 of 18 pixels.
    >>> d.plot().shape
    (2, 2)
    """

    def __repr__(self) -> str:
        return f"Delithiation({self.electrode.name}, method={self.method!r}, calibration={self.calibration!r})"

    def with_method(self, method: str) -> Delithiation:
        """The same pixels by another method.

        Parameters
        ----------
        method
            One of ``methods``.

        Returns
        -------
        Delithiation
            With the maps of that method.

        Raises
        ------
        MissingFactError
            If the electrode lacks the signature that the method needs.
        ValueError
            If there is no such method, or it needs references and no references were given.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> d.methods
        ('valence', 'lithium', 'references', 'combined')
        >>> d.with_method("valence")
        Delithiation(LixFePO4, method='valence', calibration='references')
        """
        check_method(method, self.electrode)
        if method not in self.found.contents:
            self.needed_standard(f"method={method!r}")
        return replace(self, method=method)

    def fit_populations(self, region: Any = None) -> DelithiationPopulations:
        """Tell two phases from a solid solution by the distribution of the fraction in a region.

        Parameters
        ----------
        region
            None for the whole image, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy
            ROI. Pixels that the references do not explain, or whose errors nothing
            tells, are left out.

        Returns
        -------
        DelithiationPopulations
            Shares, positions and widths of the populations, and which reading of the distribution holds.

        Raises
        ------
        ValueError
            If the shape is wrong, fewer than 10 pixels of the region have an x, or there were no references.
        TypeError
            If the region is something else.

        See Also
        --------
        hyperspy_assb.eels.delithiation.populations.fit_populations : The rules.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> print(d.fit_populations(x != 0.5).status)
        two-phase
        """
        self.needed_standard("fit_populations")
        inside = self._mask(region).ravel() & ~np.isin(self._content.status, UNRELIABLE)
        fraction, std = self._content.fraction[inside], self._content.fraction_std[inside]
        return DelithiationPopulations(
            found=fit_populations(fraction, std),
            electrode=self.electrode,
            fraction=fraction,
            fraction_std=std,
            provenance=self.provenance,
        )

    def against_potential(self, region: Any = None) -> pd.DataFrame:
        """x of a region in every state along a navigation axis named "bias".

        Parameters
        ----------
        region
            None for all pixels, a boolean array of one state or of all (True: taken), or a HyperSpy ROI on one state.

        Returns
        -------
        pandas.DataFrame
            One row a state, in the order of the axis: its potential in V, pixels, x with its uncertainties as of
            ``region_statistics``, and how far x is from that of the first state with its standard error from
            counting. One calibration makes one systematic error in all of them, which the difference does not have.

        Raises
        ------
        ValueError
            If there is no such axis, or the region has another shape or names no pixel.
        TypeError
            If the region is something else.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> nm = np.tile(np.linspace(30.0, 80.0, 6), 2)
        >>> pure = {"LiFePO4": nm * (np.arange(12) < 6), "FePO4": nm * (np.arange(12) >= 6)}
        >>> s = spectra_to_signal(simulate_spectra(pure, rng=1), EELSConditions(), signal_type="EELS_ASSB")
        >>> masks = {"LiFePO4": np.arange(12) < 6, "FePO4": np.arange(12) >= 6}
        >>> calibration = s.quantify_delithiation(masks, ensemble=False, show_progressbar=False)
        >>> x = np.repeat([[1.0], [0.4]], 12, axis=1)
        >>> counts = simulate_spectra({"LiFePO4": (nm * x).ravel(), "FePO4": (nm * (1.0 - x)).ravel()}, rng=2)
        >>> series = spectra_to_signal(counts.reshape(2, 12, -1), EELSConditions(), signal_type="EELS_ASSB")
        >>> bias = series.axes_manager.navigation_axes[1]
        >>> bias.name, bias.units, bias.scale, bias.offset = "bias", "V", 1.5, 3.0
        >>> d = series.quantify_delithiation(calibration, ensemble=False, show_progressbar=False)
        >>> d.against_potential()[["bias (V)", "x"]].round(1)
           bias (V)    x
        0       3.0  1.0
        1       4.5  0.4
        """
        names = [axis["name"] for axis in self.axes]
        if "bias" not in names:
            raise AssbValueError(
                "The result has no navigation axis named 'bias': stack the states with hyperspy.api.stack, name their "
                "axis so, and set its potentials in V."
            )
        along = names.index("bias")
        every = self._map(np.zeros(self.shape), "")
        potentials = every.axes_manager[names[along]].axis
        pick: list[Any] = [slice(None)] * len(names)
        pick[len(names) - 1 - along] = 0
        if region is None or np.shape(getattr(region, "data", region)) == self.shape:
            inside = self._mask(region)
        else:
            one = region_mask(every.inav[tuple(pick)], region)
            inside = np.broadcast_to(np.expand_dims(one.reshape(np.delete(self.shape, along)), along), self.shape)
        rows = []
        for k, potential in enumerate(potentials):
            mask = np.zeros(self.shape, dtype=bool)
            state = (slice(None),) * along + (k,)
            mask[state] = inside[state]
            rows.append({"bias (V)": float(potential)} | (dict(self._region_row(mask)) if mask.any() else {}))
        wanted = ("n_pixels", "n_answered", "x", "x_std", "x_systematic", "x_spread")
        table = pd.DataFrame(rows).reindex(columns=["bias (V)", *wanted])
        table["x_change"] = table["x"] - table["x"].iloc[0]
        table["x_change_std"] = np.where(table.index > 0, np.hypot(table["x_std"], table["x_std"].iloc[0]), 0.0)
        return table

    def compare_with_mixture(self, region: Any = None) -> DelithiationMixtures:
        """Test whether spectra of intermediate x are mixtures of the end members, or have their own line shape.

        Parameters
        ----------
        region
            None for the whole image, a boolean array or signal on the navigation axes (True: taken), or a HyperSpy
            ROI. It should hold pixels near both end members as well.

        Returns
        -------
        DelithiationMixtures
            What lies off the straight line between the end members, and how likely so much is.

        Raises
        ------
        ValueError
            If the shape is wrong, or there were no references.
        TypeError
            If the region is something else.

        See Also
        --------
        hyperspy_assb.eels.delithiation.mixing.compare_with_mixture : The test.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> print(d.compare_with_mixture().status)
        undecided
        """
        standard = self.needed_standard("compare_with_mixture")
        pixels = np.flatnonzero(self._mask(region))
        return DelithiationMixtures(
            found=compare_pixels_with_mixture(self.found, standard, self.method, pixels),
            electrode=self.electrode,
            provenance=self.provenance,
        )

    def predict_precision(
        self,
        dose: ArrayLike,
        *,
        x: float | None = None,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> pd.DataFrame:
        """Predict how well x will be known from spectra of some doses, by mixture of the references.

        Parameters
        ----------
        dose
            Electrons in a spectrum, zero-loss peak included.
        x
            Ions per formula unit in the column; None: those of the lithiated end member.
        t_over_lambda
            Of the column.
        others
            Shares of t/λ of other phases of the references, such as {"LAGP": 0.3}.
        detector
            Gain and read noise; a perfect counter by default.

        Returns
        -------
        pandas.DataFrame
            One row a dose: standard error from counting, systematic uncertainty, and detection limit (a share).

        Raises
        ------
        ValueError
            If a dose or t/λ is not above 0, a phase is not known, or the method is no mixture of references.

        Notes
        -----
        The Cramér-Rao bound, and what pure pixels scatter. An electrode with signatures is known better when combined.

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> errors = d.predict_precision([1e4, 1e6])["x_std"]
        >>> round(errors[0] / errors[1])
        10
        """
        standard = self._standard_of_mixture("predict_precision")
        found = predict_estimate(
            standard,
            dose,
            fraction=1.0 if x is None else float(self.electrode.fraction_of(float(x))),
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )
        return pd.DataFrame(
            {
                "dose": np.atleast_1d(np.asarray(dose, dtype=float)),
                "x_std": self._scale * np.sqrt(found.variance),
                "x_systematic": self._scale * np.sqrt(found.systematic),
                "detection_limit": DETECTION_LIMIT * np.sqrt(found.null_variance),
            }
        )

    def dose_to_find(
        self,
        share: float,
        *,
        power: float = 0.9,
        alpha: float = 0.05,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> float:
        """Predict the dose at which a share of the delithiated end member is found.

        Parameters
        ----------
        share
            Of the delithiated end member in the electrode, between 0 and 1.
        power
            Probability with which it is found.
        alpha
            Probability that a pixel without the end member is called a detection.
        t_over_lambda, others, detector
            As in :meth:`predict_precision`.

        Returns
        -------
        float
            Electrons in a spectrum; infinite where what pure pixels scatter hides that share.

        Raises
        ------
        ValueError
            If a share or probability is impossible, a phase is not known, or the method is no mixture of references.

        Notes
        -----
        Currie, Anal. Chem. 40, 586 (1968).

        Examples
        --------
        >>> import numpy as np
        >>> from hyperspy_assb.simulation import EELSConditions, simulate_spectra
        >>> from hyperspy_assb.simulation.battery import spectra_to_signal
        >>> x, nm = np.repeat([1.0, 0.0, 0.5], 6), np.tile(np.linspace(30.0, 80.0, 6), 3)
        >>> counts = simulate_spectra({"LiFePO4": nm * x, "FePO4": nm * (1.0 - x)}, rng=1)
        >>> s = spectra_to_signal(counts, EELSConditions(), signal_type="EELS_ASSB")
        >>> pure = {"LiFePO4": x == 1.0, "FePO4": x == 0.0}
        >>> d = s.quantify_delithiation(pure, ensemble=False, show_progressbar=False)
        >>> d.dose_to_find(0.5) < d.dose_to_find(0.2)
        True
        """
        return dose_to_find(
            self._standard_of_mixture("dose_to_find"),
            share,
            power=power,
            alpha=alpha,
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )

    def summary(self) -> str:
        """x of all quantified pixels together, where the delithiated end member is, pixels by status, and the notes."""
        return self._summary(finds=not self.builtin)

    def plot(self) -> NDArray[np.object_]:
        """Plot x, its uncertainty and the status as maps, and the distribution of x.

        Returns
        -------
        numpy.ndarray
            The matplotlib axes, shape (2, 2).
        """
        from hyperspy_assb.plotting.delithiation import plot_delithiation

        return plot_delithiation(self)

    def _standard_of_mixture(self, what: str) -> Standard:
        standard = self.needed_standard(what)
        if self.method not in ("references", "combined"):
            raise AssbValueError(
                f"{what} is about the mixture of references, not {self.method!r}: with_method('references')."
            )
        return standard
