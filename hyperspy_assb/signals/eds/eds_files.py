"""What results of X-ray quantification have in common: maps as signals, and one file for everything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import hyperspy.api as hs
import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.eds.comparison.composition_change import CompositionChange
from hyperspy_assb.eds.composition.atoms import Analysis, Composition
from hyperspy_assb.eds.interfaces.interface_changes import Change
from hyperspy_assb.eds.interfaces.interface_width import Beyond, InterfaceFit, Width
from hyperspy_assb.eds.interfaces.profiles import Profile
from hyperspy_assb.eds.lines.axis_check import EnergyCalibration
from hyperspy_assb.eds.phases.stoichiometry import PhaseMixture, PhaseOptions
from hyperspy_assb.signals.loading import check_result_path

_KNOWN = {
    c.__name__: c
    for c in (
        Beyond,
        Change,
        Composition,
        CompositionChange,
        EnergyCalibration,
        InterfaceFit,
        PhaseMixture,
        PhaseOptions,
        Profile,
        Width,
    )
}


def pack(value: Any) -> Any:
    """Plain dictionaries, arrays, numbers and strings, which HyperSpy keeps in metadata, from a result."""
    if is_dataclass(value) and type(value).__name__ in _KNOWN:
        content = {f.name: pack(getattr(value, f.name)) for f in fields(value)}
        return {"kind": type(value).__name__, "content": content}
    if isinstance(value, Mapping):
        return {
            "kind": "mapping",
            "keys": list(value),
            "content": {f"i{k}": pack(v) for k, v in enumerate(value.values())},
        }
    if isinstance(value, (tuple, list)):
        return {"kind": "tuple", "size": len(value), "content": {f"i{k}": pack(v) for k, v in enumerate(value)}}
    if value is None:
        return {"kind": "none"}
    if isinstance(value, np.ndarray) and value.dtype.kind == "b":
        return {"kind": "bool", "content": value.astype(np.uint8)}
    return value


def unpack(value: Any) -> Any:
    """What :func:`pack` was given."""
    if not isinstance(value, Mapping):
        return value
    kind = value["kind"]
    if kind == "none":
        return None
    content = value.get("content", {})
    if kind == "bool":
        return np.asarray(content).astype(bool)
    if kind == "mapping":
        return {key: unpack(content[f"i{k}"]) for k, key in enumerate(value["keys"])}
    if kind == "tuple":
        return tuple(unpack(content[f"i{k}"]) for k in range(int(value["size"])))
    return _KNOWN[kind](**{name: unpack(v) for name, v in content.items()})


@dataclass(frozen=True, eq=False)
class EDSResult:
    """A result on navigation axes.

    Parameters
    ----------
    axes
        Navigation axes, as dictionaries.
    record
        What was done, by which version.
    findings
        What should be known of it, in words.
    """

    node: ClassVar[str] = ""
    axes: tuple[dict[str, Any], ...] = field(repr=False)
    record: dict[str, Any] = field(repr=False)
    findings: tuple[str, ...]

    @classmethod
    def of(cls, analysis: Analysis[Any], axes: Iterable[Mapping[str, Any]]) -> Self:
        """What an analysis of arrays found, on the axes of its maps."""
        return cls(tuple(dict(axis) for axis in axes), analysis.record, analysis.findings, analysis.found)

    def __getstate__(self) -> dict[str, Any]:
        """Arrays alone: HyperSpy signals cannot be pickled."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the maps."""
        return tuple(axis["size"] for axis in self.axes) or (1,)

    def _map(self, values: NDArray[Any], title: str, units: str = "") -> Any:
        """A signal whose axes are all navigation axes; a single value where there are none."""
        data = np.reshape(values, self.shape)
        signal = hs.signals.BaseSignal(data, axes=[dict(a) for a in self.axes]) if self.axes else None
        signal = hs.signals.BaseSignal(data) if signal is None else signal.transpose(signal_axes=0)
        signal.metadata.General.title = title
        signal.metadata.set_item("Signal.quantity", f"{title} ({units})" if units else title)
        signal.metadata.set_item("ASSB.provenance", self.record)
        return signal

    def _maps(self, values: NDArray[Any], names: Any, title: str, units: str = "") -> dict[str, Any]:
        return {name: self._map(values[..., i], title.format(name), units) for i, name in enumerate(names)}

    def _position_columns(self) -> dict[str, NDArray[Any]]:
        columns = {}
        for axis, index in zip(self.axes, np.indices(self.shape), strict=False):
            position = axis.get("offset", 0.0) + axis.get("scale", 1.0) * index.ravel()
            columns[f"{axis['name']} index"] = index.ravel()
            columns[f"{axis['name']} ({axis['units']})"] = position
        return columns

    def save(self, path: str | Path, *, overwrite: bool | None = None) -> None:
        """Save everything in one file.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks.
        """
        check_result_path(path)
        signal = self._shown()
        content = {f.name: pack(getattr(self, f.name)) for f in fields(self)}
        signal.metadata.set_item(f"ASSB.{self.node}", content)
        signal.save(str(path), overwrite=overwrite)

    def _shown(self) -> Any:
        """What the file shows to whoever opens it with HyperSpy alone."""
        raise NotImplementedError

    @classmethod
    def _load(cls, path: str | Path) -> Any:
        signal = hs.load(str(path))
        node = None if isinstance(signal, list) else signal.metadata.get_item(f"ASSB.{cls.node}", None)
        if node is None:
            raise ValueError(
                f"{path} holds no result of this kind ({cls.node}): it was not written by {cls.__name__}.save."
            )
        content = node.as_dictionary()
        return cls(**{f.name: unpack(content[f.name]) for f in fields(cls)})
