"""Beam energy and angles: which of the recorded values can be believed.

File formats store placeholders for values that nobody entered, and some exports give the beam energy in V. Neither may
reach a cross-section.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from hyperspy_assb.errors import AssbValueError, AssbWarning

PLACEHOLDER_CONVERGENCE = 0.0
"""Convergence semi-angle that Gatan files hold when none was entered, in mrad."""
PLACEHOLDER_COLLECTION = 100.0
"""Collection semi-angle that Gatan files hold when none was entered, in mrad."""
# No microscope for EELS works above 3.5 MeV, and none below 1 kV: a number above 3500 is in V.
_LARGEST_BEAM_ENERGY = 3500.0


@dataclass(frozen=True)
class MicroscopeParameters:
    """What is known of the microscope.

    Parameters
    ----------
    beam_energy
        Energy of the incident electrons in keV; None where unset.
    convergence_angle
        Semi-angle of the probe in mrad; None where unset.
    collection_angle
        Semi-angle of the spectrometer entrance in mrad; None where unset.
    """

    beam_energy: float | None
    convergence_angle: float | None
    collection_angle: float | None

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the parameters that are unset."""
        names = ("beam_energy", "convergence_angle", "collection_angle")
        return tuple(name for name in names if getattr(self, name) is None)


def check_microscope_parameters(
    beam_energy: float | None, convergence_angle: float | None, collection_angle: float | None
) -> tuple[MicroscopeParameters, tuple[str, ...]]:
    """Replace placeholders by None and a beam energy in V by one in keV.

    Parameters
    ----------
    beam_energy
        Recorded beam energy, in keV, or in V where above 3500; None where the file has none.
    convergence_angle, collection_angle
        Recorded semi-angles in mrad; None where the file has none.

    Returns
    -------
    parameters
        The values that can be used.
    warnings
        One sentence for each value that was changed, and one naming all that are missing; empty if nothing is wrong.

    Raises
    ------
    ValueError
        If a value is negative or not finite.

    Examples
    --------
    >>> parameters, warnings = check_microscope_parameters(300000.0, 0.0, 20.0)
    >>> parameters
    MicroscopeParameters(beam_energy=300.0, convergence_angle=None, collection_angle=20.0)
    >>> len(warnings)
    3
    """
    recorded = {
        "beam_energy": beam_energy,
        "convergence_angle": convergence_angle,
        "collection_angle": collection_angle,
    }
    for name, value in recorded.items():
        if value is not None and (not math.isfinite(value) or value < 0):
            raise AssbValueError(f"{name} is {value}: it must be a finite number that is not negative.")
    messages = []
    if beam_energy == 0:
        messages.append("beam_energy is 0 keV in the file, which means that it was never set.")
        recorded["beam_energy"] = None
    elif beam_energy is not None and beam_energy > _LARGEST_BEAM_ENERGY:
        recorded["beam_energy"] = beam_energy / 1000
        messages.append(
            f"beam_energy is {beam_energy:g} in the file, which can only be in V: corrected to "
            f"{beam_energy / 1000:g} keV."
        )
    if convergence_angle == PLACEHOLDER_CONVERGENCE:
        messages.append("convergence_angle is 0 mrad in the file, a placeholder: treated as unset.")
        recorded["convergence_angle"] = None
    if collection_angle is not None and collection_angle in (0.0, PLACEHOLDER_COLLECTION):
        messages.append(f"collection_angle is {collection_angle:g} mrad in the file, a placeholder: treated as unset.")
        recorded["collection_angle"] = None
    parameters = MicroscopeParameters(**{k: None if v is None else float(v) for k, v in recorded.items()})
    if parameters.missing:
        messages.append(
            f"Missing: {', '.join(parameters.missing)}. Set them with "
            f"set_microscope_parameters({', '.join(f'{name}=...' for name in parameters.missing)})."
        )
    return parameters, tuple(messages)


def usable_microscope(recorded: MicroscopeParameters) -> MicroscopeParameters:
    """Beam energy and angles that can be used of those recorded; an AssbWarning for each that cannot."""
    parameters, messages = check_microscope_parameters(
        recorded.beam_energy, recorded.convergence_angle, recorded.collection_angle
    )
    for message in messages:
        warnings.warn(message, AssbWarning, stacklevel=3)
    return parameters
