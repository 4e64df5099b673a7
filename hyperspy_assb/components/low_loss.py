"""HyperSpy components made from line shapes: one class turns a kernel into values, gradients and storage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hyperspy.component import Component

from hyperspy_assb.eels.edges.cross_sections import ScatteringGeometry
from hyperspy_assb.eels.edges.edge_terms import EDGES, FIXED_AT_FIRST, edge_name, edge_term
from hyperspy_assb.eels.lineshapes import (
    CARBON_PI_BAND,
    DARK_LEVEL,
    VALENCE_BAND,
    VOLUME_PLASMON,
    ZERO_LOSS_PEAK,
    spline_constants,
    valence_continuum,
)
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.spectra.line_shape import NO_CONSTANTS, FloatArray, LineShape, Term


class KernelComponent(Component):
    """A HyperSpy component whose values and gradients come from a line shape.

    Parameters
    ----------
    shape
        The line shape.
    constants
        Constants of its kernel, shape (C,).
    position
        Name of the parameter that HyperSpy's interactive tools move along the axis.
    init
        Arguments of the subclass, kept so that a sliced or restored model is rebuilt with them.
    values
        Starting values of parameters, by name.
    """

    term: Term
    """Line shape and constants, as the fit engine takes them."""

    def __init__(
        self,
        shape: LineShape,
        constants: FloatArray = NO_CONSTANTS,
        *,
        position: str | None = None,
        init: dict[str, Any] | None = None,
        values: dict[str, float] | None = None,
    ) -> None:
        linear = [p.name for p in shape.parameters if p.linear]
        self.term = Term(shape, constants)
        super().__init__(list(shape.parameter_names), linear)
        start = shape.defaults(**(values or {}))
        for index, (declared, value) in enumerate(zip(shape.parameters, start, strict=True)):
            parameter = getattr(self, declared.name)
            parameter.value = float(value)
            parameter.bmin, parameter.bmax = declared.minimum, declared.maximum
            parameter.units = declared.unit
            parameter.grad = self._gradient_function(index)
        if position is not None:
            self._position = getattr(self, position)
        for name, value in (init or {}).items():
            self._whitelist[name] = ("init", value)

    @property
    def current_values(self) -> FloatArray:
        """Values of the parameters at the current position.

        Returns
        -------
        NDArray[np.float64]
            In the order of ``parameters`` and in their units, shape (P,).
        """
        return np.array([parameter.value for parameter in self.parameters], dtype=float)

    def function(self, x: Any) -> FloatArray:
        """Density per eV with the current parameter values.

        Parameters
        ----------
        x
            Energies in eV, of any shape.

        Returns
        -------
        NDArray[np.float64]
            Of their shape: counts per eV of the zero-loss peak and the dark level, probability of scattering per eV of
            all else.

        Examples
        --------
        >>> DarkLevel(8.0).function([[0.0, 50.0]])
        array([[8., 8.]])
        """
        x = np.asarray(x, dtype=float)
        return self.term.shape.evaluate(x.ravel(), self.current_values, self.term.constants)[0].reshape(x.shape)

    def function_nd(self, axis: Any, parameters_values: Any = None) -> FloatArray:
        """Density per eV at every navigation position.

        Parameters
        ----------
        axis
            Energies in eV, shape (E,).
        parameters_values
            One array of the navigation shape for each parameter; the stored maps by default.

        Returns
        -------
        NDArray[np.float64]
            Shape (..., E).

        Examples
        --------
        >>> DarkLevel().function_nd(np.arange(3.0), [np.array([1.0, 2.0])])
        array([[1., 1., 1.],
               [2., 2., 2.]])
        """
        if parameters_values is None:
            if not self._is_navigation_multidimensional:
                return self.function(axis)
            parameters_values = [parameter.map["values"] for parameter in self.parameters]
        values = np.stack([np.asarray(v, dtype=float) for v in parameters_values], axis=-1)
        axis = np.ascontiguousarray(axis, dtype=float)
        out = np.empty((*values.shape[:-1], axis.size))
        for index in np.ndindex(values.shape[:-1]):
            out[index] = self.term.shape.evaluate(axis, values[index], self.term.constants)[0]
        return out

    def _gradient_function(self, index: int) -> Any:
        def gradient(x: Any) -> FloatArray:
            x = np.asarray(x, dtype=float)
            return self.term.shape.evaluate(x.ravel(), self.current_values, self.term.constants)[1][index].reshape(
                x.shape
            )

        return gradient


class ZeroLossPeak(KernelComponent):
    """Asymmetric pseudo-Voigt zero-loss peak on the tails of the detector.

    The width grows smoothly from the gain to the loss side, w(E) = 2 fwhm / (1 + exp(-asymmetry (E - centre))).

    Parameters
    ----------
    intensity : float
        Area in counts.
    centre : float
        Position in eV.
    fwhm : float
        Full width at half maximum at the centre, in eV.
    asymmetry : float
        Growth rate of the width in 1/eV; positive means wider on the loss side.
    lorentz_fraction : float
        Lorentzian share of the core, 0 to 1.
    tail_fraction : float
        Share of the exponential tails on both sides, which the detector's point spread adds.
    tail_length : float
        Decay length of the tails in eV.

    Notes
    -----
    Stancik and Brauns, Vib. Spectrosc. 47, 66 (2008), doi 10.1016/j.vibspec.2008.02.009.

    Examples
    --------
    >>> energy = np.arange(-20.0, 20.0, 0.01)
    >>> peak = ZeroLossPeak(intensity=1e6, fwhm=0.9, tail_fraction=0.0, lorentz_fraction=0.0)
    >>> density = peak.function(energy)
    >>> print(round(density.sum() * 0.01), round(np.ptp(energy[density > density.max() / 2]), 1))
    1000000 0.9
    """

    def __init__(
        self,
        intensity: float = 1.0,
        centre: float = 0.0,
        fwhm: float = 0.8,
        asymmetry: float = 0.0,
        lorentz_fraction: float = 0.1,
        tail_fraction: float = 0.02,
        tail_length: float = 5.0,
    ) -> None:
        super().__init__(
            ZERO_LOSS_PEAK,
            position="centre",
            values={
                "intensity": intensity,
                "centre": centre,
                "fwhm": fwhm,
                "asymmetry": asymmetry,
                "lorentz_fraction": lorentz_fraction,
                "tail_fraction": tail_fraction,
                "tail_length": tail_length,
            },
        )


class DarkLevel(KernelComponent):
    """What the detector adds to every channel after dark subtraction; it does not take part in scattering.

    Parameters
    ----------
    level : float
        In counts per eV.

    Examples
    --------
    >>> DarkLevel(8.0).function([0.0, 50.0])
    array([8., 8.])
    """

    def __init__(self, level: float = 0.0) -> None:
        super().__init__(DARK_LEVEL, values={"level": level})


class FePO4ValenceBand(KernelComponent):
    """The band near 5 eV of FePO4, absent in LiFePO4, as a Gaussian.

    Parameters
    ----------
    intensity : float
        Area, as a contribution to t/λ.
    centre : float
        Energy of the maximum in eV.
    fwhm : float
        Full width at half maximum in eV.

    Notes
    -----
    Transitions into empty Fe 3d states: Moreau, Mauchamp and Boucher, Appl. Phys. Lett. 94, 123111 (2009).

    Examples
    --------
    >>> energy = np.arange(0.0, 12.0, 0.01)
    >>> band = FePO4ValenceBand(intensity=0.02, centre=5.2, fwhm=2.0).function(energy)
    >>> print(round(band.sum() * 0.01, 4), round(energy[band.argmax()], 2))
    0.02 5.2
    """

    def __init__(self, intensity: float = 0.01, centre: float = 5.2, fwhm: float = 2.0) -> None:
        super().__init__(
            VALENCE_BAND, position="centre", values={"intensity": intensity, "centre": centre, "fwhm": fwhm}
        )


class CarbonPiBand(KernelComponent):
    """The pi plasmon of sp2 carbon near 6 eV, as the loss function of one damped oscillator.

    Parameters
    ----------
    intensity : float
        Contribution to t/λ, in the limit of a narrow band.
    centre : float
        Position in eV.
    fwhm : float
        Damping in eV.

    Notes
    -----
    A Lorentz oscillator: Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq.
    3.43. Carbon under the beam imitates delithiation by it: its maximum lies on the band of FePO4.

    Examples
    --------
    >>> energy = np.arange(0.1, 30.0, 0.01)
    >>> band = CarbonPiBand(intensity=0.01, centre=6.0, fwhm=2.0).function(energy)
    >>> bool(5.0 < energy[band.argmax()] < 6.0)
    True
    """

    def __init__(self, intensity: float = 0.01, centre: float = 6.0, fwhm: float = 4.0) -> None:
        super().__init__(
            CARBON_PI_BAND, position="centre", values={"intensity": intensity, "centre": centre, "fwhm": fwhm}
        )


class ValenceContinuum(KernelComponent):
    """Free-form single-scattering distribution of the valence electrons: cubic B-splines in ln E, over E^2.

    Parameters
    ----------
    breaks : sequence of float
        Breakpoints in eV, increasing. Scattering begins at the first.

    Notes
    -----
    All parameters are linear and unbounded. It vanishes smoothly at the first breakpoint. Splines: de Boor, A Practical
    Guide to Splines (1978).

    Examples
    --------
    >>> continuum = ValenceContinuum(breaks=(3.0, 10.0, 20.0, 40.0, 100.0))
    >>> len(continuum.parameters), continuum.function(np.array([2.0])).item()
    (4, 0.0)
    """

    def __init__(self, breaks: Sequence[float] = (2.0, 8.0, 12.0, 16.0, 20.0, 24.0, 28.0, 34.0, 42.0, 60.0, 200.0)):
        breaks = [float(b) for b in breaks]
        array = np.asarray(breaks)
        super().__init__(valence_continuum(array), spline_constants(array), init={"breaks": breaks})


class VolumePlasmon(KernelComponent):
    """Volume plasmon of a damped free-electron gas (Drude).

    Parameters
    ----------
    intensity : float
        Contribution to t/λ, in the limit of a narrow plasmon.
    plasmon_energy : float
        Pole of the undamped loss function in eV.
    fwhm : float
        Damping in eV.

    Notes
    -----
    Egerton, Electron Energy-Loss Spectroscopy in the Electron Microscope, 3rd ed. (2011), eq. 3.43.

    Examples
    --------
    >>> energy = np.arange(0.1, 60.0, 0.01)
    >>> plasmon = VolumePlasmon(0.5, plasmon_energy=15.0, fwhm=0.6).function(energy)  # of aluminium
    >>> print(round(energy[plasmon.argmax()], 1))
    15.0
    """

    def __init__(self, intensity: float = 0.3, plasmon_energy: float = 25.0, fwhm: float = 10.0) -> None:
        super().__init__(
            VOLUME_PLASMON,
            position="plasmon_energy",
            values={"intensity": intensity, "plasmon_energy": plasmon_energy, "fwhm": fwhm},
        )


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

    Notes
    -----
    Cross-sections and their sources: ``cross_sections``.
    """

    shell: str
    elements: tuple[str, ...]
    default: str | None = None

    def __init__(
        self,
        element: str | None = None,
        beam_energy: float = 200.0,
        convergence_angle: float = 8.0,
        collection_angle: float = 15.0,
        **values: float,
    ) -> None:
        if element is None:
            element = self.default
        if element not in self.elements:
            raise AssbValueError(
                f"{type(self).__name__} knows the elements {', '.join(self.elements)}, not {element!r}."
            )
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


def _shared(cls: type) -> str:
    """The documentation of a class without its summary, to stand in that of others."""
    return (cls.__doc__ or "").split("\n", 2)[2].strip()


class LiKEdge(IonisationEdge):
    __doc__ = f"""Li K edge: hydrogenic cross-section, onset near 55 eV, and the maximum near 62 eV.

    {_shared(IonisationEdge)}

    Examples
    --------
    >>> edge = LiKEdge(areal_density=800.0, collection_angle=20.0)
    >>> density = edge.function(np.array([45.0, 62.0]))
    >>> bool(density[0] < 1e-3 * density[1])
    True
    """
    shell = "K"
    elements = EDGES[shell]
    default = "Li"


class M23Edge(IonisationEdge):
    __doc__ = f"""M2,3 edge of Ti, V, Mn, Fe, Co, Ni or Ge; position and width of the maximum distinguish Fe2+ from
    Fe3+.

    {_shared(IonisationEdge)}

    Examples
    --------
    >>> edge = M23Edge("Fe", areal_density=800.0)
    >>> edge.name, edge.onset_energy.value
    ('Fe_M23', 55.5)
    """
    shell = "M2,3"
    elements = EDGES[shell]


class L23Edge(IonisationEdge):
    __doc__ = f"""L2,3 edge of Na, Mg, Al, Si, P, S, Cl, V or Fe; the maximum stands for the white lines.

    {_shared(IonisationEdge)}

    Examples
    --------
    >>> edge = L23Edge("Al", areal_density=800.0)
    >>> edge.name, [parameter.name for parameter in edge.parameters if parameter.free]
    ('Al_L23', ['areal_density'])
    """
    shell = "L2,3"
    elements = EDGES[shell]


class M45Edge(IonisationEdge):
    __doc__ = f"""M4,5 edge of Ge (the default), Sr or Zr, a broad maximum far above the onset.

    {_shared(IonisationEdge)}

    Examples
    --------
    >>> edge = M45Edge(areal_density=800.0)
    >>> edge.element, edge.onset_energy.value
    ('Ge', 30.0)
    """
    shell = "M4,5"
    elements = EDGES[shell]
    default = "Ge"


class N45Edge(IonisationEdge):
    __doc__ = f"""N4,5 edge of La: the giant resonance of 4d to 4f.

    {_shared(IonisationEdge)}

    Examples
    --------
    >>> edge = N45Edge(areal_density=800.0)
    >>> edge.name, edge.onset_energy.value
    ('La_N45', 100.0)
    """
    shell = "N4,5"
    elements = EDGES[shell]
    default = "La"


EDGE_CLASSES: tuple[type[IonisationEdge], ...] = (LiKEdge, M23Edge, L23Edge, M45Edge, N45Edge)
