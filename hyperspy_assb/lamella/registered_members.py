"""Signals and results by key, with their files, and their frames registered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbKeyError, AssbTypeError, AssbValueError
from hyperspy_assb.lamella.member_frames import frame_axes, frame_of_axes, map_values, read_frame, registration_image
from hyperspy_assb.lamella.members import (
    Member,
    bytes_of,
    file_of,
    give_back,
    plain_axis,
    problem_of,
    read_member,
    same_frame,
)
from hyperspy_assb.registration.affine import Affine, ImageFrame
from hyperspy_assb.registration.alignment_step import DistortionOptions
from hyperspy_assb.registration.area_overlap import AreaOverlap, overlap_of
from hyperspy_assb.registration.image_registration import ImageRegistration, register_images
from hyperspy_assb.signals.result import Result
from hyperspy_assb.staging import path_of

_MOST_BYTES = 200_000_000
"""Results from files that are kept in memory while another one is read."""


@dataclass(frozen=True, eq=False)
class RegisteredMembers(Result):
    """What :class:`.Lamella` knows of its members: files, frames, and how these lie in each other.

    Parameters
    ----------
    name
        Of the lamella.
    members
        By key.
    """

    name: str = "lamella"
    members: dict[str, Member] = field(default_factory=dict, repr=False)

    def add(
        self,
        key: str,
        what: Any,
        *,
        path: str | PathLike[str] | None = None,
        bias: float | None = None,
        frame: str | None = None,
    ) -> None:
        """Add a signal or a result.

        Parameters
        ----------
        key
            What it is called here, such as ``"eels"`` or ``"eels before"``.
        what
            A HyperSpy signal, a result, or the path of a file with one, which is read lazily.
        path
            The file that holds it, if it was given itself; found by itself for signals that HyperSpy loaded.
        bias
            Potential in V.
        frame
            Key of a member that it shares its pixels with, because both were recorded at once, or one was computed from
            the other; None: it has a frame of its own.

        Raises
        ------
        AssbKeyError
            If there is one of that key already, or none of the key ``frame``.
        AssbValueError
            If an axis has no scale, is mirrored, or ``frame`` has other pixels.
        AssbFileError
            If a file is missing or cannot be read.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb import Lamella
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> lamella = Lamella("L1")
        >>> try:
        ...     lamella.add("haadf", image)
        ... except ValueError as error:
        ...     print(str(error).partition(":")[2].partition(":")[0])
         its axis y has no scale in a unit of length (no unit)
        """
        if not isinstance(key, str) or not key.strip():
            raise AssbTypeError(f"key must be a name, not {key!r}.")
        if key in self.members:
            raise AssbKeyError(
                f"{key}: the lamella has a {self.members[key].kind} of that key already: choose another key, such as "
                f"'{key} after'."
            )
        if frame is not None and frame not in self.members:
            raise AssbKeyError(f"{key}: there is no member {frame!r} whose frame it could share; {self._keys()}.")
        if isinstance(what, str | PathLike):
            path = path_of(what, "what")
            what = self._from_file(Path(path), key)
        file = file_of(what) if path is None else path_of(path, "path")
        axes = frame_axes(what)
        own: ImageFrame | None
        if frame is None:
            own = read_frame(what, key)
        else:
            own = self.members[frame].frame
            size = None if axes is None else tuple(int(axis["size"]) for axis in axes)
            if own is None or size != own.shape:
                raise AssbValueError(
                    f"{key} has pixels {size}, and {frame} {None if own is None else own.shape}: they share no frame."
                )
        described = provenance.describe_file(file) if file is not None else {"sha256": ""}
        self.members[key] = Member(
            kind=type(what).__name__,
            frame=own,
            axes=() if axes is None else tuple(plain_axis(axis) for axis in axes),
            path="" if file is None else str(Path(file).absolute()),
            sha256=described["sha256"],
            bias=float("nan") if bias is None else float(bias),
            frame_of="" if frame is None else self._root(frame),
        )
        self._held[key] = what

    def __getitem__(self, key: str) -> Any:
        """The signal or result of a key, read from its file when it is first asked for.

        Raises
        ------
        AssbKeyError
            If there is none.
        AssbFileError
            If its file was moved or changed; the message names it.
        """
        member = self._member(key)
        if key not in self._held:
            problem = problem_of(key, member)
            if problem:
                raise (AssbFileError if Path(member.path).exists() else AssbFileNotFoundError)(problem)
            self._held[key] = self._from_file(Path(member.path), key)
        return self._held[key]

    def relocate(self, key: str, path: str | PathLike[str]) -> None:
        """Say where the file of a member is now.

        Parameters
        ----------
        key
            Of the member.
        path
            The file, whose content must be the same.

        Raises
        ------
        AssbKeyError
            If there is no such member.
        AssbFileError
            If there is no such file, or its content is another one.

        Examples
        --------
        >>> from hyperspy_assb import Lamella
        >>> lamella = Lamella("L1")
        >>> try:
        ...     lamella.relocate("eels", "moved/eels.hspy")
        ... except KeyError as error:
        ...     print(error.args[0])
        There is no member 'eels'; there are none.
        """
        moved = replace(self._member(key), path=str(path_of(path, "path").absolute()))
        problem = problem_of(key, moved)
        if problem:
            raise (AssbFileError if Path(moved.path).exists() else AssbFileNotFoundError)(problem)
        self.members[key] = moved

    def check_inputs(self) -> tuple[str, ...]:
        """Files that were moved or changed since they were added, in sentences.

        Returns
        -------
        tuple of str
            Empty if all are as they were.

        Examples
        --------
        >>> from hyperspy_assb import Lamella
        >>> Lamella("L1").check_inputs()
        ()
        """
        found = (problem_of(key, member) for key, member in self.members.items() if member.path)
        return tuple(problem for problem in found if problem)

    # ------------------------------------------------------------------ frames

    def register(
        self,
        reference: str,
        *,
        images: Mapping[str, Any] | None = None,
        transforms: Mapping[str, Affine] | None = None,
        options: DistortionOptions | None = None,
        alpha: float = 0.01,
    ) -> pd.DataFrame:
        """Find how the frame of every member lies in that of one of them.

        Parameters
        ----------
        reference
            Key of the member whose frame is that of the lamella; one with fine pixels and all materials is best.
        images
            Maps to register on, by key: an element, t/λ, a virtual bright field; two that show the same material, such
            as Fe and the pixels of olivine, are best. Where none is named it is the virtual bright field of patterns,
            t/λ of a quantification and of low-loss spectra, and all counts of others.
        transforms
            Transforms that are known, by key, from the reference to the member.
        options
            What is known of the transforms before.
        alpha
            Level of the test that images share anything.

        Returns
        -------
        pandas.DataFrame
            One row a member: shift, rotation, standard error at the middle in nm, p value and misfit.

        Raises
        ------
        AssbKeyError
            If a key is not that of a member with a frame.
        AssbValueError
            If images share nothing, are mirrored or flat; the message names both members.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb import Lamella
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> for axis in image.axes_manager.signal_axes:
        ...     axis.scale, axis.units = 10.0, "nm"
        >>> lamella = Lamella("L1")
        >>> lamella.add("haadf", image)
        >>> lamella.register("haadf")["error (nm)"].to_dict()
        {'haadf': 0.0}
        """
        images, transforms = dict(images or {}), dict(transforms or {})
        for key in (reference, *images, *transforms):
            if self._member(key).frame is None:
                raise AssbKeyError(f"{key} has no pixels that could be registered.")
        root = self._root(reference)
        frame = self._framed(root)
        fixed = self._image(reference if reference in images else root, images)
        found = {root: ImageRegistration(Affine(np.eye(2), np.zeros(2)), 0.0, 0.0, True, frame.coarseness)}
        for key, member in self.members.items():
            if member.frame is None or member.frame_of or key == root:
                continue
            if key in transforms:
                if not np.linalg.det(transforms[key].matrix) > 0.0:
                    raise AssbValueError(f"transforms[{key!r}] mirrors: flip the data of {key} instead.")
                coarse = max(member.frame.coarseness, frame.coarseness)
                found[key] = ImageRegistration(transforms[key], 0.0, float("nan"), True, coarse)
                continue
            found[key] = register_images(
                self._image(key, images),
                member.frame,
                fixed,
                frame,
                options=options,
                alpha=alpha,
                names=(key, reference),
            )
        for key, registration in found.items():
            self.members[key] = replace(self.members[key], registration=registration, reference=key == root)
        self._overlaps.clear()
        return self._registration_table()

    # ------------------------------------------------------------------- parts

    @cached_property
    def _held(self) -> dict[str, Any]:
        """Signals and results that were read; never saved."""
        return {}

    @cached_property
    def _read(self) -> dict[str, int]:
        """Bytes of results that were read from their files, the earliest first."""
        return {}

    def _from_file(self, path: Path, key: str) -> Any:
        """What a file holds; results that were read before are let go of where they are large, and read again."""
        for other in list(self._read):
            if sum(self._read.values()) <= _MOST_BYTES:
                break
            del self._read[other]
            self._held.pop(other, None)
            give_back()
        found = read_member(path, key)
        if isinstance(found, Result):
            self._read[key] = bytes_of(found)
        return found

    @cached_property
    def _overlaps(self) -> dict[tuple[str, str], tuple[AreaOverlap, NDArray[np.float64]]]:
        return {}

    def _keys(self) -> str:
        return f"there are {', '.join(self.members) or 'none'}"

    def _member(self, key: str) -> Member:
        if key not in self.members:
            raise AssbKeyError(f"There is no member {key!r}; {self._keys()}.")
        return self.members[key]

    def _root(self, key: str) -> str:
        return self._member(key).frame_of or key

    def _framed(self, key: str) -> ImageFrame:
        frame = self._member(key).frame
        if frame is None:
            raise AssbKeyError(f"{key} has no pixels.")
        return frame

    def _image(self, key: str, images: Mapping[str, Any]) -> NDArray[np.float64]:
        if key in images:
            return map_values(images[key], f"images[{key!r}]")
        return registration_image(self[key])

    def _only(self, kind: type, key: str | None, words: str) -> str:
        if key is not None:
            if not isinstance(self[key], kind):
                raise AssbKeyError(f"{key} is a {self._member(key).kind}, no {words}.")
            return key
        found = [name for name, member in self.members.items() if member.kind == kind.__name__]
        if len(found) != 1:
            raise AssbKeyError(f"There are {len(found)} {words} ({', '.join(found) or 'none'}): name one as source=.")
        return found[0]

    def _overlap(self, target: str, source: str) -> tuple[AreaOverlap, NDArray[np.float64]]:
        """Shared areas, and the standard error of the registration in nm at each pixel of the target."""
        at, of = self._framed(target), self._framed(source)
        roots = self._root(target), self._root(source)
        if roots not in self._overlaps:
            if roots[0] == roots[1]:
                transform = Affine(np.eye(2), np.zeros(2))
            else:
                found = [self.members[root].registration for root in roots]
                for root, registration in zip(roots, found, strict=True):
                    if registration is None:
                        raise AssbValueError(
                            f"{root} is not registered: call register first, or add it with frame= of a member whose "
                            "pixels it shares."
                        )
                transform = found[0].transform.inverse.then(found[1].transform)
            self._overlaps[roots] = overlap_of(at, of, transform), transform.position_std(at.positions())
        return self._overlaps[roots]

    def _source_of(self, values: Any) -> str:
        if not hasattr(values, "axes_manager"):
            raise AssbValueError("An array does not belong to a member: give source=.")
        axes = frame_axes(values)
        frame = None if axes is None else frame_of_axes(axes, "the map")
        same = [key for key, member in self.members.items() if same_frame(member.frame, frame)]
        if len({self._root(key) for key in same}) != 1:
            raise AssbValueError(
                f"The axes of the map are those of {', '.join(same) or 'no member'}: give source=, the member whose "
                "pixels it has."
            )
        return same[0]

    def _quantities(self, key: str) -> dict[str, NDArray[Any]]:
        held = self[key]
        shape = self._framed(key).shape
        if isinstance(held, Result):
            columns = {name: np.reshape(values, shape) for name, values in held._pixel_columns().items()}
            if held.statuses is not None:
                columns["status"] = np.reshape(np.array(held._in_words(held._status()), dtype=object), shape)
            return columns
        return {"counts": registration_image(held)}

    def _registration_in_words(self, key: str) -> str:
        member = self.members[key]
        if member.frame_of:
            return f"in the pixels of {member.frame_of}"
        if member.registration is None:
            return "not registered"
        error = float(member.registration.transform.inverse.position_std(member.frame.centre))
        if member.reference:
            return "reference"
        if np.isnan(member.registration.misfit):
            return f"its transform given within {error:.2g} nm"
        return f"registered within {error:.2g} nm (p = {member.registration.p:.2g})"

    def _registration_table(self) -> pd.DataFrame:
        rows = {}
        for key, member in self.members.items():
            if member.registration is None:
                continue
            back = member.registration.transform.inverse
            shift = back(member.frame.centre) - member.frame.centre
            rows[key] = {
                "down (nm)": shift[0],
                "right (nm)": shift[1],
                "rotation (°)": member.registration.transform.rotation,
                "error (nm)": float(back.position_std(member.frame.centre)),
                "p": member.registration.p,
                "misfit": member.registration.misfit,
            }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("key")
