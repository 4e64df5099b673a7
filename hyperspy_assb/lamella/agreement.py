"""What two signals of a lamella say of the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from hyperspy_assb.acom.maps.couples import find_couple
from hyperspy_assb.errors import AssbValueError
from hyperspy_assb.fitting.statistics.spatial_agreement import compare_particles, correlated_pixels, spatial_association
from hyperspy_assb.lamella.volume_agreement import (
    compare_volumes,
    distance_to,
    electrode_shares,
    has_electrode,
    spectral_shares,
)

_SMALLEST = 6
"""Pixels of a particle that is judged."""
_UNKNOWN = 0.05
"""Standard error of the share of a phase in a particle beside that of its probabilities: what lies above and below."""
_NAMED = 5
"""Contradictions that are named one by one; the others are counted."""


@dataclass(frozen=True)
class Claim:
    """What follows from two signals together.

    Parameters
    ----------
    subject
        In a few words.
    sentence
        What was found, for a reader.
    value
        The number: a correlation, or a difference.
    p
        Probability without the effect; of a contradiction, its false discovery rate.
    contradiction
        Whether the two exclude each other.
    sources
        Keys of the members.

    Examples
    --------
    >>> Claim("particle 3", "ACOM says FePO4, EELS says LiFePO4.", 0.9, 1e-6, True, ("acom", "x")).contradiction
    True
    """

    subject: str
    sentence: str
    value: float
    p: float
    contradiction: bool
    sources: tuple[str, ...]


def judge_agreement(lamella: Any, *, fdr: float = 0.05) -> tuple[Claim, ...]:
    """All that can be compared between members of a lamella, contradictions first.

    Parameters
    ----------
    lamella
        The lamella.
    fdr
        Share of false ones among contradictions.
    """
    of_kind: dict[str, list[str]] = {}
    for key, member in lamella.members.items():
        of_kind.setdefault(member.kind, []).append(key)
    claims: list[Claim] = []
    for maps in of_kind.get("OrientationMaps", []):
        for x in (*of_kind.get("Delithiation", []), *of_kind.get("FineStructure", [])):
            if _same_state(lamella, maps, x):
                claims += _olivine_of_both(lamella, maps, x, fdr)
        for composition in of_kind.get("EDSComposition", []):
            if _same_state(lamella, maps, composition):
                claims += _elements_and_phases(lamella, maps, composition)
        claims += _volumes(lamella, maps, of_kind, fdr)
        claims += _distance_to_amorphous(lamella, maps)
        claims += _distance_to_cracks(lamella, maps)
    return tuple(sorted(claims, key=lambda claim: (not claim.contradiction, claim.p if claim.contradiction else 0.0)))


def _same_state(lamella: Any, one: str, other: str) -> bool:
    """Whether two members may be of one state: biases that differ were recorded at other times."""
    biases = lamella.members[one].bias, lamella.members[other].bias
    return bool(np.isnan(biases).any() or biases[0] == biases[1])


def _lithiated_share(maps: Any) -> tuple[Any, NDArray[np.float64], NDArray[np.bool_]] | None:
    """The couple, the probability of its lithiated member of the two, and pixels where either was found."""
    names = [phase.name for phase in maps.phases]
    couple = find_couple(names)
    if couple is None:
        return None
    ends = names.index(couple.lithiated), names.index(couple.delithiated)
    both = maps.found.posterior[..., ends]
    total = both.sum(axis=-1)
    share = np.where(total > 0.0, both[..., 0] / np.maximum(total, 1e-12), np.nan)
    return couple, share, np.isin(maps.found.phase, ends)


def find_particles(maps: Any, inside: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Numbers of particles of an electrode, 0 elsewhere: grains of either end member that touch, by orientation."""
    try:
        return np.asarray(maps.mechanism().particles.labels, dtype=np.int64)
    except AssbValueError:
        return np.asarray(ndimage.label(inside)[0], dtype=np.int64)


def _olivine_of_both(lamella: Any, key: str, x_key: str, fdr: float) -> list[Claim]:
    maps, found = lamella[key], lamella[x_key]
    lithiated = _lithiated_share(maps)
    if lithiated is None:
        return []
    couple, share, inside = lithiated
    moved = lamella.to_frame(
        key, found.fraction, source=x_key, std=found.fraction_std, systematic=found.fraction_systematic
    )
    x = np.where(inside, moved.content, np.nan)
    labels = find_particles(maps, inside)
    known = np.bincount(labels[np.isfinite(x)], minlength=2)
    numbers = [int(n) for n in np.flatnonzero(known >= _SMALLEST) if n > 0]
    boxes = ndimage.find_objects(labels)
    claims = []
    try:
        together = spatial_association(x, np.where(inside, share, np.nan))
        claims.append(
            Claim(
                "x and phase in pixels",
                f"x by {x_key} and the share of {couple.lithiated} by {key} go together with a correlation of "
                f"{together.correlation:z.2f} in {together.pixels} pixels (p = {together.p:.2g}).",
                together.correlation,
                together.p,
                False,
                (key, x_key),
            )
        )
    except AssbValueError:
        pass
    if not numbers:
        return claims
    systematic = np.zeros(x.shape) if moved.content_systematic is None else moved.content_systematic
    # Each in its own box: there may be thousands.
    table = np.array(
        [
            _particle_values(labels[box] == n, x[box], systematic[box], share[box])
            for n, box in ((n, boxes[n - 1]) for n in numbers)
        ]
    )
    compared = compare_particles(table[:, 0], table[:, 1], table[:, 2], table[:, 3], fdr=fdr)
    order = [k for k in np.argsort(compared.q) if compared.contradicts[k]]
    for k in order[:_NAMED]:
        lithium, _, phase, _ = table[k]
        says = {True: couple.lithiated, False: couple.delithiated}
        place = np.argwhere(labels == numbers[k]).mean(axis=0)
        at = lamella.members[key].frame.positions()[int(place[0]), int(place[1])]
        claims.append(
            Claim(
                f"particle {numbers[k]}",
                f"Contradiction in particle {numbers[k]} (at {at[1]:z.0f}, {at[0]:z.0f} nm): {key} says "
                f"{says[phase > 0.5]} (share {phase:z.2f} ± {table[k, 3]:z.2f}), {x_key} says {says[lithium > 0.5]} "
                f"(lithiated {lithium:z.2f} ± {table[k, 1]:z.2f}); false discovery rate {compared.q[k]:.2g}.",
                lithium - phase,
                float(compared.q[k]),
                True,
                (key, x_key),
            )
        )
    if len(order) > _NAMED:
        claims.append(
            Claim(
                "particles",
                f"{len(order)} of {len(numbers)} particles contradict in all.",
                len(order) / len(numbers),
                float(compared.p),
                True,
                (key, x_key),
            )
        )
    claims.append(
        Claim(
            "x and phase of particles",
            f"x by {x_key} and phase by {key} agree in {len(numbers) - len(order)} of {len(numbers)} particles; rank "
            f"correlation {compared.association:z.2f} (p = {compared.association_p:.2g}).",
            compared.association,
            compared.association_p,
            False,
            (key, x_key),
        )
    )
    return claims


def _particle_values(
    inside: NDArray[np.bool_],
    x: NDArray[np.float64],
    systematic: NDArray[np.float64],
    share: NDArray[np.float64],
) -> tuple[float, float, float, float]:
    """x and its standard error, the share of the lithiated phase and its own, of one particle."""
    use = inside & np.isfinite(x)
    count = int(use.sum())
    values = np.where(use, x, np.nan)
    # Correlation is looked for as far as a particle reaches.
    room = np.pad(values, max(values.shape), constant_values=np.nan)
    alone = count / min(correlated_pixels(room), float(count))
    scatter = float(np.nanstd(values)) / np.sqrt(max(alone, 1.0))
    common = float(np.nanmean(systematic[use]))
    chance = share[use]
    binomial = float(np.sqrt(np.nanmean(chance * (1.0 - chance)) / max(alone, 1.0)))
    return (
        float(np.nanmean(values)),
        float(np.hypot(scatter, common)),
        float(np.nanmean(chance)),
        float(np.hypot(binomial, _UNKNOWN)),
    )


def _associated(subject: str, words: str, one: Any, other: Any, sources: tuple[str, ...]) -> list[Claim]:
    try:
        found = spatial_association(one, other)
    except AssbValueError:
        return []
    sentence = f"{words}: correlation {found.correlation:z.2f} in {found.pixels} pixels (p = {found.p:.2g})."
    return [Claim(subject, sentence, found.correlation, found.p, False, sources)]


def _elements_and_phases(lamella: Any, key: str, composition_key: str) -> list[Claim]:
    maps, composition = lamella[key], lamella[composition_key]
    claims: list[Claim] = []
    lithiated = _lithiated_share(maps)
    known = maps.found.status != 4
    moved = {
        name: lamella.to_frame(key, signal, source=composition_key).content
        for name, signal in composition.atomic_percent.items()
        if name in ("Fe", "Al", "Ge")
    }
    if lithiated is not None and "Fe" in moved:
        olivine = np.where(known, lithiated[2].astype(float), np.nan)
        words = f"The olivine of {key} lies where {composition_key} has Fe"
        claims += _associated("olivine and Fe", words, olivine, moved["Fe"], (key, composition_key))
    if "amorphous_LAGP" in maps.amorphous_share:
        share = maps.amorphous_share["amorphous_LAGP"].data
        for element in ("Al", "Ge"):
            if element in moved:
                words = f"Amorphous LAGP of {key} lies where {composition_key} has {element}"
                claims += _associated(
                    f"amorphous LAGP and {element}", words, share, moved[element], (key, composition_key)
                )
    return claims


def _volumes(lamella: Any, key: str, of_kind: dict[str, list[str]], fdr: float) -> list[Claim]:
    """Volume of the electrode by all methods, of one state; and amorphous LAGP by diffraction and by EELS."""
    maps = lamella[key]
    lithiated = _lithiated_share(maps)
    found = [k for kind in ("Delithiation", "EDSPhases") for k in of_kind.get(kind, [])]
    others = [k for k in found if _same_state(lamella, key, k) and has_electrode(lamella[k])]
    if lithiated is None or not others:
        return []
    claims = []
    frame = others[0]
    shares = {key: electrode_shares(lamella, key, lithiated[2], frame)}
    shares |= {k: spectral_shares(lamella, k, frame) for k in others}
    shares = {k: share for k, share in shares.items() if np.isfinite(share).any()}
    compared = compare_volumes(shares, fdr)
    if compared is not None:
        sentence, value, p, against = compared
        claims.append(Claim("volume of the electrode", sentence, value, p, against, tuple(shares)))
    for k in others:
        amounts = {} if getattr(lamella[k], "standard", None) is None else lamella[k].amounts
        if "amorphous_LAGP" in amounts and "amorphous_LAGP" in maps.amorphous_share:
            moved = lamella.to_frame(key, amounts["amorphous_LAGP"].data, source=k).content
            words = f"Amorphous LAGP of {key} lies where the bands of {k} find it"
            share = maps.amorphous_share["amorphous_LAGP"].data
            claims += _associated("amorphous LAGP and bands", words, share, moved, (key, k))
    return claims


def _distance_to_cracks(lamella: Any, key: str) -> list[Claim]:
    """The delithiated phase against the distance to cracks: members whose key begins with "crack", boolean maps."""
    maps = lamella[key]
    lithiated = _lithiated_share(maps)
    claims: list[Claim] = []
    for other, member in lamella.members.items():
        if lithiated is None or not other.startswith("crack") or member.frame is None:
            continue
        data = np.asarray(getattr(lamella[other], "data", np.zeros(0)))
        if data.dtype != bool or data.shape != member.frame.shape:
            continue
        distance = distance_to(data, member.frame.pixel)
        if distance is None:
            continue
        couple, share, inside = lithiated
        moved = lamella.to_frame(key, distance, source=other).content
        words = f"{couple.delithiated} of {key} against the distance to {other}"
        delithiated = np.where(inside, 1.0 - share, np.nan)
        claims += _associated(f"{couple.delithiated} and {other}", words, delithiated, moved, (key, other))
    return claims


def _distance_to_amorphous(lamella: Any, key: str) -> list[Claim]:
    maps = lamella[key]
    lithiated = _lithiated_share(maps)
    names = list(maps.classes.names)
    if lithiated is None or "amorphous_LAGP" not in names:
        return []
    couple, share, inside = lithiated
    amorphous = maps.classes.index == names.index("amorphous_LAGP")
    distance = distance_to(amorphous, lamella.members[key].frame.pixel)
    if distance is None:
        return []
    words = f"{couple.delithiated} of {key} against the distance to amorphous LAGP"
    delithiated = np.where(inside, 1.0 - share, np.nan)
    return _associated(f"{couple.delithiated} and distance", words, delithiated, distance, (key,))
