"""Results like the real ones, for tests of what they have in common; also imported by processes that are killed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from hyperspy_assb.signals.result import KINDS, Result


class ToyStatus(IntEnum):
    """What became of a pixel."""

    FITTED = 0
    EMPTY = 1
    UNEXPLAINED = 2


class ToyVerdict(StrEnum):
    """In words."""

    YES = "it is so"
    NO = "it is not"


@dataclass(frozen=True)
class ToyPart:
    """Arrays of one method."""

    x: np.ndarray
    names: tuple[str, ...]
    verdict: ToyVerdict
    width: float | None = None
    scale: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        with np.errstate(invalid="ignore", over="ignore"):  # of random contents
            object.__setattr__(self, "scale", float(np.nansum(self.x)))


@dataclass(frozen=True, eq=False)
class ToyMaps(Result):
    """Maps by method, as a quantification has them."""

    statuses: ClassVar[type[IntEnum]] = ToyStatus
    parts: Mapping[str, ToyPart] = field(repr=False)
    method: str
    codes: np.ndarray = field(repr=False)
    masks: Mapping[str, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def x(self) -> Any:
        return self._map(self.parts[self.method].x, "x of a toy", "1")

    @cached_property
    def status(self) -> Any:
        return self._map(self.codes, "Status")

    def summary(self) -> str:
        return "\n".join((f"x is {np.nanmean(self.parts[self.method].x):.3g} on average.", *self.notes))

    def plot(self) -> Any:
        from hyperspy_assb.plotting import plot_map

        return plot_map(self.x, label="x")

    def _shown(self) -> Any:
        return self.x

    def _pixel_columns(self) -> Mapping[str, Any]:
        return {"x": self.x.data}

    def _region_row(self, mask: np.ndarray) -> Mapping[str, Any]:
        inside = self.x.data[mask]
        return {"x": float(np.mean(inside)), "x_std": float(np.std(inside) / np.sqrt(inside.size))}


@dataclass(frozen=True, eq=False)
class ToyTable(Result):
    """Tables without pixels, as a comparison has them; ``content`` is whatever a test puts there."""

    table: pd.DataFrame = field(repr=False)
    content: Any = None

    def summary(self) -> str:
        return f"{len(self.table)} rows."

    def plot(self) -> Any:
        raise NotImplementedError

    def to_dataframe(self, region: Any = None, *, names: Any = None) -> pd.DataFrame:
        return self.table if region is None else super().to_dataframe(region, names=names)

    def _shown(self) -> Any:
        return self._map(np.zeros(self.shape), "A table of a toy")


TOY_KINDS = {cls.__name__: cls.__module__ for cls in (ToyMaps, ToyPart, ToyStatus, ToyTable, ToyVerdict)}


def register() -> None:
    """Make the toys known, for good: for processes of their own."""
    KINDS.update(TOY_KINDS)


def axes(shape: tuple[int, ...]) -> tuple[dict[str, Any], ...]:
    """Navigation axes."""
    names = "yx" if len(shape) == 2 else "abc"
    return tuple(
        {"name": name, "size": size, "scale": 2.0, "offset": 1.0, "units": "nm", "navigate": True}
        for name, size in zip(names, shape, strict=False)
    )


def toy_maps(shape: tuple[int, ...] = (4, 5), *, seed: int = 0, methods: int = 2) -> ToyMaps:
    """Maps with random content."""
    rng = np.random.default_rng(seed)
    parts = {
        f"method {k}": ToyPart(rng.normal(size=int(np.prod(shape))), ("LiFePO4", "FePO4"), ToyVerdict.YES, None)
        for k in range(methods)
    }
    return ToyMaps(
        parts=parts,
        method="method 0",
        codes=rng.integers(0, 3, size=int(np.prod(shape))).astype(np.int8),
        masks={"LiFePO4": rng.random(shape) > 0.5},
        axes=axes(shape),
        provenance={"action": "toy", "seed": seed, "versions": {"hyperspy-assb": "0.1.0"}},
        notes=("A note.", "Another: µ, Å, σ."),
    )
