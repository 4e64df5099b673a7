"""Whether overlapping edges can be told apart, decided from the information in the spectra."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hyperspy_assb.components.edges import IonisationEdge
from hyperspy_assb.fitting.solver.fit_statistics import SEPARABLE, fisher_information, variance_inflation
from hyperspy_assb.models.compile import compile_model
from hyperspy_assb.models.multifit import detector_from_metadata

if TYPE_CHECKING:
    from hyperspy_assb.models.eels import ASSBEELSModel

NEAR_EDGE_UNCERTAINTY = {"onset_energy": 1.0, "onset_width": 1.0, "peak_energy": 2.0, "peak_ratio": 0.3}
"""How well the near-edge shape of an element is known in a compound (standard deviations in eV; the ratio a number):
chemical shifts of M2,3 edges between valence states are 1 to 2 eV."""
REACH = (20.0, 15.0)
"""How far below and above the onset of an edge others overlap with it, in eV."""


@dataclass(frozen=True)
class Separability:
    """Whether an edge is told from those that overlap with it.

    Parameters
    ----------
    edge
        Name of the component.
    overlapping
        Names of the edges that begin close to it.
    variance_inflation
        How many times their amounts and near-edge shapes, not being known, enlarge the variance of its areal density;
        median over the spectra.
    """

    edge: str
    overlapping: tuple[str, ...]
    variance_inflation: float

    @property
    def separable(self) -> bool:
        """Whether the inflation is at most 10."""
        return self.variance_inflation <= SEPARABLE

    def __str__(self) -> str:
        verb = "is separated" if self.separable else "cannot be separated"
        others = " and ".join(name.replace("_", " ") for name in self.overlapping)
        return (
            f"{self.edge.replace('_', ' ')} {verb} from {others}: their overlap enlarges the variance of its areal "
            f"density {self.variance_inflation:.3g} times (limit {SEPARABLE:g})."
        )


def edge_separability(model: ASSBEELSModel, *, spectra: int = 64) -> list[Separability]:
    """Tell for each edge whether the spectra separate it from the edges that overlap with it.

    Parameters
    ----------
    model
        A fitted low-loss model.
    spectra
        Number of fitted spectra, evenly drawn, that the answer is based on.

    Returns
    -------
    separability
        One for each edge that others overlap with, in the order of the onsets.

    Raises
    ------
    RuntimeError
        If no spectrum is fitted.
    """
    compiled = compile_model(model)
    fitted = np.flatnonzero(np.ravel(model[0].parameters[0].map["is_set"]) & np.isfinite(compiled.start).all(axis=1))
    if model.fit_quality is None or not fitted.size:
        raise RuntimeError("Fit the model first: m.multifit().")
    rows = fitted[np.linspace(0, fitted.size - 1, min(spectra, fitted.size)).astype(int)]
    edges = [c for c in compiled.components if isinstance(c, IonisationEdge)]
    column = {name: k for k, name in enumerate(compiled.names)}
    found = []
    for edge in edges:
        onset = edge.onset_energy.value
        others = [e for e in edges if e is not edge and -REACH[0] < e.onset_energy.value - onset < REACH[1]]
        if not others:
            continue
        free = compiled.free.copy()
        confounders = [column[e.name, "areal_density"] for e in others]
        prior = np.full(free.size, np.inf)
        for other in others:
            for name, std in NEAR_EDGE_UNCERTAINTY.items():
                k = column[other.name, name]
                free[k], prior[k] = True, std
                confounders.append(k)
        free[column[edge.name, "areal_density"]] = True
        position = np.cumsum(free) - 1
        information = fisher_information(
            compiled.model,
            compiled.start[rows],
            free,
            detector=detector_from_metadata(model.signal),
            mask=compiled.mask,
        )
        inflation = variance_inflation(
            information,
            int(position[column[edge.name, "areal_density"]]),
            position[np.array(confounders)],
            prior[free],
        )
        found.append(Separability(edge.name, tuple(e.name for e in others), float(np.median(inflation))))
    return found
