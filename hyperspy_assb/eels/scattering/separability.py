"""Whether overlapping edges can be told apart, decided from the information in the spectra."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hyperspy_assb.eels.scattering.joint_model import JointModel
from hyperspy_assb.fitting.solver.fit_statistics import SEPARABLE, fisher_information, variance_inflation
from hyperspy_assb.fitting.solver.spectra_fit import Detector

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
        *first, last = (name.replace("_", " ") for name in self.overlapping) if self.overlapping else ("",)
        others = f"{', '.join(first)} and {last}" if first else last
        return (
            f"{self.edge.replace('_', ' ')} {verb} from {others}: their overlap enlarges the variance of its areal "
            f"density {self.variance_inflation:.3g} times (limit {SEPARABLE:g})."
        )


def edge_separability(joint: JointModel, detector: Detector, *, spectra: int = 64) -> list[Separability]:
    """Tell for each edge whether the spectra separate it from the edges that overlap with it.

    Parameters
    ----------
    joint
        A low-loss model with the values of fitted spectra.
    detector
        Gain and read noise.
    spectra
        Number of spectra, evenly drawn, that the answer is based on.

    Returns
    -------
    separability
        One for each edge that others overlap with, in the order of the onsets.
    """
    count = len(joint.values)
    values = joint.values[np.linspace(0, count - 1, min(spectra, count)).astype(int)]
    columns = joint.columns
    onsets = {
        edge: float(np.median(values[:, columns[edge, "onset_energy"]]))
        for edge, parameter in joint.names
        if parameter == "onset_energy"
    }
    found = []
    for edge, onset in onsets.items():
        others = tuple(e for e, o in onsets.items() if e != edge and -REACH[0] < o - onset < REACH[1])
        if not others:
            continue
        free = joint.free.copy()
        confounders = [columns[other, "areal_density"] for other in others]
        prior = np.full(free.size, np.inf)
        for other in others:
            for name, std in NEAR_EDGE_UNCERTAINTY.items():
                k = columns[other, name]
                free[k], prior[k] = True, std
                confounders.append(k)
        own = columns[edge, "areal_density"]
        free[own] = True
        position = np.cumsum(free) - 1
        information = fisher_information(joint.model, values, free, detector=detector, mask=joint.mask)
        inflation = variance_inflation(information, int(position[own]), position[np.array(confounders)], prior[free])
        found.append(Separability(edge, others, float(np.median(inflation))))
    return found
