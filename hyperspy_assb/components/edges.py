"""Ionisation edges: a cross-section for the given beam and angles, behind a smooth step, with one maximum on top."""

from __future__ import annotations

from hyperspy_assb.components.base import KernelComponent
from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import EDGES, FIXED_AT_FIRST, edge_name, edge_term


class IonisationEdge(KernelComponent):
    """What the edges share.

    Parameters
    ----------
    element : str
        Chemical symbol; may be left out where the class knows only one.
    beam_energy : float
        In keV.
    convergence_angle, collection_angle : float
        Semi-angles in mrad.
    **values : float
        Starting values of the parameters: ``areal_density`` (atoms/nm^2), ``onset_energy``, ``onset_width`` (eV),
        ``peak_ratio`` (area of the near-edge maximum over that of the bare edge within 20 eV), ``peak_energy``,
        ``peak_fwhm`` (eV). All but ``areal_density`` are fixed until they are freed.

    Raises
    ------
    ValueError
        If the element has no such edge here, or the beam energy or an angle is impossible.
    """

    shell: str
    elements: tuple[str, ...]

    def __init__(
        self,
        element: str | None = None,
        beam_energy: float = 200.0,
        convergence_angle: float = 8.0,
        collection_angle: float = 15.0,
        **values: float,
    ) -> None:
        if element is None and len(self.elements) == 1:
            element = self.elements[0]
        if element not in self.elements:
            raise ValueError(f"{type(self).__name__} knows the elements {', '.join(self.elements)}, not {element!r}.")
        geometry = ScatteringGeometry(float(beam_energy), float(convergence_angle), float(collection_angle))
        term = edge_term(element, self.shell, geometry)
        init = {
            "element": element,
            "beam_energy": geometry.beam_energy,
            "convergence_angle": geometry.convergence_angle,
            "collection_angle": geometry.collection_angle,
        }
        super().__init__(term.shape, term.constants, position="onset_energy", init=init, values=values)
        for name, value in init.items():
            setattr(self, name, value)
        self.name = edge_name(element, self.shell)
        for name in FIXED_AT_FIRST:
            getattr(self, name).free = False


class LiKEdge(IonisationEdge):
    __doc__ = f"""Li K edge: hydrogenic cross-section, onset near 55 eV, and the maximum near 62 eV.

    {(IonisationEdge.__doc__ or "").split(chr(10), 2)[2]}"""
    shell = "K"
    elements = EDGES[shell]


class M23Edge(IonisationEdge):
    __doc__ = f"""M2,3 edge of V, Mn, Fe, Co, Ni or Ge; position and width of the maximum tell Fe2+ from Fe3+.

    {(IonisationEdge.__doc__ or "").split(chr(10), 2)[2]}"""
    shell = "M2,3"
    elements = EDGES[shell]


class L23Edge(IonisationEdge):
    __doc__ = f"""L2,3 edge of Al, P, V or Fe; the maximum stands for the white lines.

    {(IonisationEdge.__doc__ or "").split(chr(10), 2)[2]}"""
    shell = "L2,3"
    elements = EDGES[shell]


class M45Edge(IonisationEdge):
    __doc__ = f"""M4,5 edge of Ge, a broad maximum on the high-energy side of the plasmon.

    {(IonisationEdge.__doc__ or "").split(chr(10), 2)[2]}"""
    shell = "M4,5"
    elements = EDGES[shell]


EDGE_CLASSES: tuple[type[IonisationEdge], ...] = (LiKEdge, M23Edge, L23Edge, M45Edge)
