"""Delithiation of a spectrum image: the object that holds x per pixel, and its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hyperspy_assb.eels.delithiation.lithium_content import DelithiationStatus, LithiumContent
from hyperspy_assb.eels.delithiation.mixing import MixtureComparison, compare_pixels_with_mixture
from hyperspy_assb.eels.delithiation.populations import Populations, fit_populations
from hyperspy_assb.eels.delithiation.prediction import dose_to_find, predict_estimate, standard_errors
from hyperspy_assb.eels.delithiation.quantification import METHODS, Quantification
from hyperspy_assb.eels.delithiation.region_statistics import find_iron_phosphate, tabulate_regions
from hyperspy_assb.eels.delithiation.standard import Standard
from hyperspy_assb.fitting.solver.spectra_fit import Detector
from hyperspy_assb.signals.eels.named_regions import chosen_pixels, region_pixels
from hyperspy_assb.signals.loading import check_result_path

QUANTITIES = {
    "x": "Lithium content x in LixFePO4",
    "x_std": "Standard error of x from counting",
    "x_systematic": "Systematic uncertainty of x",
    "significance": "Significance in standard errors",
    "detection_limit": "Detection limit of the end member",
    "olivine_fraction": "Olivine share of t/lambda",
    "status": "Status",
}
"""What there is for each method."""
BUILTIN = "built-in cross-sections"
SHARED = {
    "t_over_lambda": "t/lambda",
    "reduced_deviance": "Reduced deviance",
    "agreement": "p value of the agreement of the estimates",
}
"""What there is once."""


@dataclass(frozen=True)
class IronPhosphate:
    """Where FePO4 is found, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    p_value
        Probability of at least this little lithium in LiFePO4; NaN where x is.
    adjusted
        Smallest level at which the pixel is among the finds.
    found
        Boolean: whether it is among them at ``level``.
    level
        Expected share of false finds among all.
    """

    p_value: Any
    adjusted: Any
    found: Any
    level: float


@dataclass(frozen=True)
class Delithiation:
    """x of LixFePO4 in every pixel, as HyperSpy signals on the navigation axes.

    Parameters
    ----------
    found
        What was found by every method, as arrays; see
        :class:`~hyperspy_assb.eels.delithiation.quantification.Quantification`.
    standard
        The calibration, which serves other signals of the same specimen as well: pass this object as ``references``.
        None for the built-in calibration by cross-sections, which holds "lithium" alone.
    method
        The method whose maps are shown; :meth:`select` shows another.
    axes
        Navigation axes, as dictionaries.
    record
        What was done, by which version.
    references
        Pure pixels, boolean arrays on the navigation axes.
    """

    found: Quantification = field(repr=False)
    standard: Standard | None = field(repr=False)
    method: str
    axes: tuple[dict[str, Any], ...] = field(repr=False)
    record: dict[str, Any] = field(default_factory=dict, repr=False)
    references: dict[str, NDArray[np.bool_]] = field(default_factory=dict, repr=False)

    def __repr__(self) -> str:
        return f"Delithiation(method={self.method!r}, calibration={self.calibration!r})"

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone: HyperSpy signals, which the maps are, cannot be pickled."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def builtin(self) -> bool:
        """Whether x is by cross-sections alone, without references."""
        return self.standard is None

    @property
    def calibration(self) -> str:
        """What x stands on: "references" or "built-in cross-sections"."""
        return BUILTIN if self.builtin else "references"

    def select(self, method: str) -> Delithiation:
        """The same pixels by another method: "valence", "lithium", "references" or "combined".

        Raises
        ------
        ValueError
            If there is no such method, or it needs references and there were none.
        """
        check_method(method)
        if method not in self.found.contents:
            self.needed_standard(f"method={method!r}")
        return replace(self, method=method)

    @cached_property
    def x(self) -> Any:
        """Lithium content, not clipped; NaN where ``status`` gives no answer."""
        return self._of_method("x")

    @cached_property
    def x_std(self) -> Any:
        """Standard error from counting."""
        return self._of_method("x_std")

    @cached_property
    def x_systematic(self) -> Any:
        """Uncertainty from calibration and from what pure pixels scatter beyond counting."""
        return self._of_method("x_systematic")

    @cached_property
    def significance(self) -> Any:
        """Standard errors by which FePO4 (for "lithium": Li) is above nothing."""
        return self._of_method("significance")

    @cached_property
    def detection_limit(self) -> Any:
        """Share of FePO4 (for "lithium": of LiFePO4) that is found 95 times of 100."""
        return self._of_method("detection_limit")

    @cached_property
    def olivine_fraction(self) -> Any:
        """Share of the olivines in t/lambda."""
        return self._of_method("olivine_fraction")

    @cached_property
    def status(self) -> Any:
        """:class:`~hyperspy_assb.eels.delithiation.lithium_content.DelithiationStatus` as integers."""
        return self._of_method("status")

    @cached_property
    def t_over_lambda(self) -> Any:
        """Thickness over the inelastic mean free path."""
        return self._map(self.found.t_over_lambda, SHARED["t_over_lambda"])

    @cached_property
    def reduced_deviance(self) -> Any:
        """Of the fit of a pixel as a column of the phases (built-in: of the joint fit): 1 where it is explained."""
        return self._map(self.found.reduced_deviance, SHARED["reduced_deviance"])

    @cached_property
    def agreement(self) -> Any:
        """p value of the hypothesis that the methods differ by their errors only."""
        return self._map(self.found.agreement, SHARED["agreement"])

    @cached_property
    def amounts(self) -> dict[str, Any]:
        """t/lambda of each phase in the column: LAGP, carbon, ...; below 0 where noise makes it so.

        Raises
        ------
        ValueError
            If there were no references: only they tell the phases.
        """
        return self._by_phase(self.found.amounts, "t/lambda of {}")

    @cached_property
    def amounts_std(self) -> dict[str, Any]:
        """Standard errors of the amounts from counting."""
        return self._by_phase(self.found.amounts_std, "Standard error of t/lambda of {}")

    def to_dataframe(
        self, regions: Any = None, *, names: Sequence[str] | Mapping[int, str] | None = None
    ) -> pd.DataFrame:
        """A table of pixels or of regions.

        Parameters
        ----------
        regions
            None: one row a pixel: indices and position (with units in the name), every quantity, the status in words.
            Otherwise one row a region: a boolean array or signal, a HyperSpy ROI, an image of labels (0: none), or a
            dictionary of these by name. Its columns are the entries of
            :class:`~hyperspy_assb.eels.delithiation.region_statistics.RegionStatistics`, and the number of pixels of
            each status. A region without any x has NaN; its status columns tell why.
        names
            Names of the labels 1, 2, ..., or by label.

        Raises
        ------
        ValueError
            If a shape is wrong, a region is empty, or names do not fit.
        TypeError
            If a region is none of these.
        """
        if regions is not None:
            pixels = region_pixels(self.x, regions, names)
            rows = tabulate_regions(pixels, self.found.contents[self.method], self.found.t_over_lambda)
            return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")
        shape = self.x.data.shape
        columns: dict[str, Any] = {}
        for axis, index in zip(self.x.axes_manager._axes if self.axes else (), np.indices(shape), strict=False):
            columns[f"{axis.name} index"] = index.ravel()
            columns[f"{axis.name} ({axis.units})"] = axis.axis[index.ravel()]
        for name in (*QUANTITIES, *SHARED):
            columns[name] = getattr(self, name).data.ravel()
        for phase, amount in ({} if self.builtin else self.amounts).items():
            columns[f"t/lambda of {phase}"] = amount.data.ravel()
        for other, content in self.found.contents.items():
            if other != self.method:
                columns[f"x ({other})"] = content.x
        table = pd.DataFrame(columns)
        table["status"] = [DelithiationStatus(s).name.lower() for s in table["status"]]
        return table

    def find_iron_phosphate(self, level: float = 0.05) -> IronPhosphate:
        """Where there is FePO4, with at most a share ``level`` of the finds false.

        Parameters
        ----------
        level
            Expected share of false finds among all; in an image without FePO4, the probability of any find.

        Returns
        -------
        finds
            Maps of p values and of the finds.

        Raises
        ------
        ValueError
            If the level does not lie between 0 and 1, or there were no references.

        Notes
        -----
        The significance is 1 - x over its statistical and systematic uncertainty, whatever ``significance`` is of.
        """
        self.needed_standard("find_iron_phosphate")
        finds = find_iron_phosphate(self.found.contents[self.method], level)
        return IronPhosphate(
            p_value=self._map(finds.p_value, "p value of no FePO4"),
            adjusted=self._map(finds.adjusted, "Level at which FePO4 is found"),
            found=self._map(finds.found, f"FePO4 found at a false share of {level:g}"),
            level=level,
        )

    def fit_populations(self, where: Any = None) -> Populations:
        """Tell two phases from a solid solution by the distribution of x in a region.

        Parameters
        ----------
        where
            None for the whole image, a boolean array or signal on the navigation axes, or a HyperSpy ROI.

        Returns
        -------
        populations
            See :func:`~hyperspy_assb.eels.delithiation.populations.fit_populations`.

        Raises
        ------
        ValueError
            If the shape is wrong, fewer than 10 pixels of the region have an x, or there were no references.
        TypeError
            If ``where`` is something else.
        """
        self.needed_standard("fit_populations")
        content, mask = self.found.contents[self.method], chosen_pixels(self.x, "mask", where).ravel()
        return fit_populations(content.x[mask], content.x_std[mask])

    def compare_with_mixture(self, where: Any = None) -> MixtureComparison:
        """Whether spectra of intermediate x are mixtures of the end members, or have a line shape of their own.

        Parameters
        ----------
        where
            None for the whole image, a boolean array or signal on the navigation axes, or a HyperSpy ROI. It should
            hold pixels near x = 0 and near x = 1 as well.

        Returns
        -------
        comparison
            See :func:`~hyperspy_assb.eels.delithiation.mixing.compare_pixels_with_mixture`.

        Raises
        ------
        ValueError
            If the shape is wrong.
        TypeError
            If ``where`` is something else.
        """
        pixels = np.flatnonzero(chosen_pixels(self.x, "where", where))
        return compare_pixels_with_mixture(
            self.found, self.needed_standard("compare_with_mixture"), self.method, pixels
        )

    def predict_precision(
        self,
        dose: ArrayLike,
        *,
        x: float = 1.0,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> pd.DataFrame:
        """How well x will be known from spectra of some doses, by mixture of the references ("combined" does better).

        Parameters
        ----------
        dose
            Electrons in a spectrum, zero loss included.
        x, t_over_lambda
            Of the column.
        others
            Shares of t/lambda of other phases of the references, such as {"LAGP": 0.3}.
        detector
            Gain and read noise; a perfect counter by default.

        Returns
        -------
        pandas.DataFrame
            One row a dose.
        """
        found = predict_estimate(
            self._standard_of_mixture("predict_precision"),
            dose,
            x=x,
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )
        return pd.DataFrame({"dose": np.atleast_1d(np.asarray(dose, dtype=float)), **standard_errors(found)})

    def dose_to_find(
        self,
        share: float,
        *,
        power: float = 0.9,
        t_over_lambda: float = 0.5,
        others: Mapping[str, float] | None = None,
        detector: Detector | None = None,
    ) -> float:
        """Electrons in a spectrum at which a share of FePO4 is found with a given probability; may be infinite.

        See :func:`hyperspy_assb.eels.delithiation.prediction.dose_to_find`.
        """
        return dose_to_find(
            self._standard_of_mixture("dose_to_find"),
            share,
            power=power,
            t_over_lambda=t_over_lambda,
            others=others,
            detector=detector,
        )

    def plot(self) -> Any:
        """Plot x, its uncertainty and the status as maps, and the distribution of x.

        Returns
        -------
        axes : numpy.ndarray
            The matplotlib axes.
        """
        from hyperspy_assb.plotting.delithiation import plot_delithiation

        return plot_delithiation(self)

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything in one file, the results of all methods and the calibration included.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        check_result_path(path)
        columns = {name: getattr(self.found, name) for name in SHARED}
        for method, content in self.found.contents.items():
            columns |= {f"{method} {name}": getattr(content, name) for name in QUANTITIES}
        if not self.builtin:
            for r, phase in enumerate(self.standard.spectra.phases):
                columns[f"amount {phase}"] = self.found.amounts[:, r]
                columns[f"amount_std {phase}"] = self.found.amounts_std[:, r]
            columns |= {f"residual {name}": self.found.residual[:, k] for k, name in enumerate(self.standard.names)}
        shape = self.x.data.shape
        stack = np.stack([np.reshape(column, shape).astype(np.float64) for column in columns.values()])
        axes = [{"name": "quantity", "size": len(columns), "navigate": True}, *self.x.axes_manager._get_axes_dicts()]
        signal = hs.signals.BaseSignal(stack, axes=axes)
        signal.metadata.General.title = QUANTITIES["x"]
        signal.metadata.set_item(
            "ASSB.delithiation",
            {
                "quantities": list(columns),
                "method": self.method,
                "references": {name: mask.astype(np.uint8) for name, mask in self.references.items()},
                "provenance": self.record,
                **({} if self.builtin else {"standard": self.standard.as_dictionary()}),
            },
        )
        signal.save(str(path), overwrite=overwrite)

    def _of_method(self, name: str) -> Any:
        return self._map(getattr(self.found.contents[self.method], name), QUANTITIES[name])

    def needed_standard(self, what: str) -> Standard:
        """The calibration for something that needs one, which is named in the ValueError if there is none."""
        if self.standard is None:
            raise ValueError(
                f"{what} needs references: this result is by {BUILTIN}, whose errors are common to pixels of one kind "
                "and differ between kinds. Quantify with references={'LiFePO4': ..., 'FePO4': ...}."
            )
        return self.standard

    def _standard_of_mixture(self, what: str) -> Standard:
        standard = self.needed_standard(what)
        if self.method not in ("references", "combined"):
            raise ValueError(f"{what} is about the mixture of references, not {self.method!r}: select('references').")
        return standard

    def _by_phase(self, values: NDArray[np.float64], title: str) -> dict[str, Any]:
        phases = self.needed_standard("The amount of each phase").spectra.phases
        return {phase: self._map(values[:, r], title.format(phase)) for r, phase in enumerate(phases)}

    def _map(self, values: NDArray[Any], title: str) -> Any:
        """A signal whose axes are all navigation axes; a single value where there are none."""
        shape = tuple(axis["size"] for axis in self.axes) or (1,)
        data = np.reshape(values, shape)
        signal = hs.signals.BaseSignal(data, axes=[dict(a) for a in self.axes]) if self.axes else None
        signal = hs.signals.BaseSignal(data) if signal is None else signal.transpose(signal_axes=0)
        signal.metadata.General.title = title
        signal.metadata.set_item("ASSB.provenance", self.record)
        return signal


def load_delithiation(path: str | Path) -> Delithiation:
    """Load what :meth:`Delithiation.save` wrote.

    Raises
    ------
    ValueError
        If the file holds something else.
    """
    signal = hs.load(str(path))
    node = signal.metadata.get_item("ASSB.delithiation", None) if not isinstance(signal, list) else None
    if node is None:
        raise ValueError(f"{path} holds no delithiation result: it was not written by Delithiation.save.")
    axes = [axis for axis in signal.axes_manager._get_axes_dicts() if axis["name"] != "quantity"]
    count = len(node.quantities)
    columns = dict(zip(node.quantities, np.reshape(signal.data, (count, -1)), strict=True))
    standard = Standard.from_dictionary(node.standard.as_dictionary()) if "standard" in node else None
    contents = {
        method: LithiumContent(**{name: columns[f"{method} {name}"] for name in QUANTITIES})
        for method in METHODS
        if f"{method} x" in columns
    }
    for content in contents.values():
        object.__setattr__(content, "status", content.status.astype(np.int8))
    phases, names = ((), ()) if standard is None else (standard.spectra.phases, standard.names)
    size = columns["t_over_lambda"].size
    found = Quantification(
        contents=contents,
        amounts=np.reshape([columns[f"amount {phase}"] for phase in phases], (-1, size)).T,
        amounts_std=np.reshape([columns[f"amount_std {phase}"] for phase in phases], (-1, size)).T,
        residual=np.reshape([columns[f"residual {name}"] for name in names], (-1, size)).T,
        **{name: columns[name] for name in SHARED},
    )
    record = node.provenance.as_dictionary() if "provenance" in node else {}
    references = {name: np.asarray(mask, dtype=bool) for name, mask in node.references.as_dictionary().items()}
    if signal.axes_manager.navigation_dimension <= 1 and axes and axes[0]["size"] == 1 and count:
        axes = axes if signal.data.ndim > 1 and axes[0]["name"] else []
    return Delithiation(found, standard, node.method, tuple(axes), record, references)


def check_method(method: str) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(map(repr, METHODS))}, not {method!r}.")
