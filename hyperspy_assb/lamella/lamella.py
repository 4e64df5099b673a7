"""One lamella, looked at by every signal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbFileError, AssbFileNotFoundError, AssbKeyError, AssbTypeError, AssbValueError
from hyperspy_assb.lamella.agreement import Claim, judge_agreement
from hyperspy_assb.lamella.frame_map import FrameMap
from hyperspy_assb.lamella.member_frames import frame_axes, frame_of_axes, map_values, read_frame, registration_image
from hyperspy_assb.lamella.pure_pixels import pure_pixels
from hyperspy_assb.registration.affine import Affine, ImageFrame
from hyperspy_assb.registration.area_overlap import AreaOverlap, away_from_others, overlap_of
from hyperspy_assb.registration.boundary_refinement import DistortionOptions
from hyperspy_assb.registration.image_registration import ImageRegistration, register_images
from hyperspy_assb.signals.acom.orientations import OrientationMaps
from hyperspy_assb.signals.region_mask import Names, region_masks
from hyperspy_assb.signals.result import Result, load
from hyperspy_assb.staging import path_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SAME = 1e-6
"""Relative difference of axes that are the same."""


@dataclass(frozen=True, eq=False)
class Member:
    """One signal or result of a lamella.

    Parameters
    ----------
    kind
        Name of its class.
    frame
        Where its pixels lie; None for what has none, such as a voltammogram.
    axes
        Of its rows and columns.
    path, sha256
        The file that holds it, and the hash of that; empty while it is in memory alone.
    bias
        Potential in V at which it was recorded; NaN if none was given.
    frame_of
        Key of the member whose pixels it shares; empty if it has a frame of its own.
    registration
        From the reference to it; None until it is registered.
    """

    kind: str
    frame: ImageFrame | None
    axes: tuple[dict[str, Any], ...] = ()
    path: str = ""
    sha256: str = ""
    bias: float = float("nan")
    frame_of: str = ""
    registration: ImageRegistration | None = None


@dataclass(frozen=True, eq=False)
class Lamella(Result):
    """Signals and results of one lamella, and how their frames lie in each other.

    Parameters
    ----------
    name
        Of the lamella.
    members
        By key; :meth:`add` fills it.

    Examples
    --------
    >>> import hyperspy.api as hs
    >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
    >>> for axis in image.axes_manager.signal_axes:
    ...     axis.scale, axis.units = 10.0, "nm"
    >>> lamella = Lamella("L1")
    >>> lamella.add("haadf", image)
    >>> print(lamella.summary())
    Lamella L1 has 1 member.
    haadf: Signal2D, 8 x 8 pixels of 10 nm, not registered, in memory alone.
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
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> lamella = Lamella("L1")
        >>> try:
        ...     lamella.add("haadf", image)
        ... except ValueError as error:
        ...     print(str(error).partition(":")[2].partition(":")[0])
         its axis y has no scale in a unit of length (<undefined>)
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
            what = _read(path, key)
        file = _file_of(what) if path is None else path_of(path, "path")
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
            axes=() if axes is None else tuple(_plain_axis(axis) for axis in axes),
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
            problem = _problem(key, member)
            if problem:
                raise (AssbFileError if Path(member.path).exists() else AssbFileNotFoundError)(problem)
            self._held[key] = _read(Path(member.path), key)
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
        >>> lamella = Lamella("L1")
        >>> try:
        ...     lamella.relocate("eels", "moved/eels.hspy")
        ... except KeyError as error:
        ...     print(error.args[0])
        There is no member 'eels'; there are none.
        """
        moved = replace(self._member(key), path=str(path_of(path, "path").absolute()))
        problem = _problem(key, moved)
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
        >>> Lamella("L1").check_inputs()
        ()
        """
        found = (_problem(key, member) for key, member in self.members.items() if member.path)
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
            Maps to register on, by key: an element, t/λ, a virtual bright field. Where none is named it is the virtual
            bright field of patterns, t/λ of a quantification, and all counts of others.
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
            self.members[key] = replace(self.members[key], registration=registration)
        self._overlaps.clear()
        return self._registration_table()

    def to_frame(
        self,
        target: str,
        values: Any,
        *,
        source: str | None = None,
        std: Any = None,
        systematic: Any = None,
        how: Literal["mean", "counts", "labels"] | None = None,
    ) -> FrameMap:
        """Carry a map into the frame of a member, by the area that pixels share.

        Parameters
        ----------
        target
            Key of the member.
        values
            A map as a signal, or as an array of shape (rows, columns) with ``source``.
        source
            Key of the member whose pixels the map has; None: the one with the same axes.
        std, systematic
            Maps of standard errors: of independent pixels, and of all together.
        how
            ``"mean"`` by area; ``"counts"``, which are spread over the area of their pixel; ``"labels"``, by majority,
            -1 within the error of the registration of another label. None: labels for integers and booleans, otherwise
            the mean.

        Returns
        -------
        FrameMap
            The map with its errors.

        Raises
        ------
        AssbKeyError
            If a key is unknown.
        AssbValueError
            If a member is not registered, the shape is wrong, or the source is not told by the axes.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> fine, coarse = (hs.signals.Signal2D(np.ones((n, n))) for n in (8, 4))
        >>> for image, scale, offset in ((fine, 10.0, 0.0), (coarse, 20.0, 5.0)):
        ...     for axis in image.axes_manager.signal_axes:
        ...         axis.scale, axis.units, axis.offset = scale, "nm", offset
        >>> lamella = Lamella("L1")
        >>> lamella.add("haadf", fine)
        >>> lamella.add("eels", coarse)
        >>> table = lamella.register("haadf", transforms={"eels": Affine(np.eye(2), np.zeros(2))})
        >>> lamella.to_frame("eels", fine, how="counts").values.data[0, 0]
        np.float64(4.0)
        """
        source = self._source_of(values) if source is None else source
        overlap, margin = self._overlap(target, source)
        data = np.asarray(getattr(values, "data", values))
        if data.shape != overlap.source_shape:
            raise AssbValueError(f"The map has the shape {data.shape}, and {source} has {overlap.source_shape} pixels.")
        if how is None:
            how = "labels" if data.dtype.kind in "biu" else "mean"
        quantity = _title(values)
        error = systematic_error = None
        notes: list[str] = []
        if how == "labels":
            labels = data.astype(np.int64)
            near = away_from_others(labels, self._framed(source))
            content: NDArray[Any] = overlap.majority(labels)
            distance = overlap.mean(np.where(np.isfinite(near), near, 1e9), least=0.0)
            content = np.where(distance > margin, content, -1)
        elif how == "counts":
            content = overlap.counts(data.astype(float))
            if std is not None:
                variance = overlap.area.multiply(overlap.area) @ map_values(std, "std").ravel() ** 2
                error = np.sqrt(np.asarray(variance).reshape(content.shape))
        elif how == "mean":
            content = overlap.mean(data.astype(float))
            if std is not None:
                error = overlap.mean_std(data.astype(float), map_values(std, "std"))
            if systematic is not None:
                systematic_error = overlap.mean(map_values(systematic, "systematic"))
        else:
            raise AssbValueError(f'how must be "mean", "counts", "labels" or None, not {how!r}.')
        finer = float(np.median(overlap.whole)) < 0.7
        if finer:
            notes.append(
                f"Pixels of {target} are smaller than those of {source}: several share one measurement and its error."
            )
        return FrameMap(
            quantity,
            content,
            error,
            systematic_error,
            covered=overlap.covered,
            margin=margin,
            axes=self._member(target).axes,
            notes=tuple(notes),
            provenance=provenance.record("to_frame", parameters={"from": source, "to": target, "how": how}),
        )

    def table(self, frame: str, region: Any = None, *, names: Names = None) -> pd.DataFrame:
        """Everything that is known, in the pixels of one member.

        Parameters
        ----------
        frame
            Key of the member.
        region
            None: one row a pixel. Otherwise one row a region: a mask, a label image of particles or grains, or a
            dictionary of masks; numbers are means of its pixels.
        names
            Names of labels.

        Returns
        -------
        pandas.DataFrame
            Columns ``key: quantity`` of all results that have pixels; words by majority.

        Raises
        ------
        AssbKeyError
            If there is no such member.
        AssbValueError
            If a member is not registered.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> for axis in image.axes_manager.signal_axes:
        ...     axis.scale, axis.units = 10.0, "nm"
        >>> lamella = Lamella("L1")
        >>> lamella.add("haadf", image)
        >>> lamella.table("haadf").columns.tolist()
        ['y (nm)', 'x (nm)', 'haadf: counts']
        """
        at = self._framed(frame)
        columns: dict[str, Any] = {}
        positions = at.positions()
        columns["y (nm)"], columns["x (nm)"] = positions[..., 0].ravel(), positions[..., 1].ravel()
        for key, member in self.members.items():
            if member.frame is None:
                continue
            overlap, margin = self._overlap(frame, key)
            quantities = self._quantities(key)
            for name, values in quantities.items():
                columns[f"{key}: {name}"] = _carried(name, values, quantities, overlap, margin, member.frame)
        table = pd.DataFrame(columns)
        if region is None:
            return table
        like = hs.signals.BaseSignal(np.zeros(at.shape)).transpose(signal_axes=0)
        rows = {}
        for name, mask in region_masks(like, region, names=names).items():
            inside = table[mask.ravel()]
            row: dict[str, Any] = {"pixels": len(inside)}
            for column in inside.columns:
                if pd.api.types.is_numeric_dtype(inside[column]):
                    row[column] = float(inside[column].mean())
                else:
                    counts = inside[column].dropna().value_counts()
                    row[column] = counts.index[0] if len(counts) else None
            rows[name] = row
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("region")

    def references(self, key: str, *, source: str | None = None, posterior: float = 0.95) -> dict[str, Any]:
        """Pure pixels of each material by diffraction, as references for the spectra of another member.

        Parameters
        ----------
        key
            Of the member with the spectra.
        source
            Key of the orientation maps; None: the only ones.
        posterior
            Least probability of a phase, of those that were offered.

        Returns
        -------
        dict of str
            Boolean signals on the axes of ``key``, for ``quantify_delithiation`` and others: pixels of one crystal or
            one amorphous material, further from their boundaries than the error of the registration and half a pixel of
            the scan; materials without any are left out.

        Raises
        ------
        AssbKeyError
            If there are no orientation maps, or several and none is named.
        AssbValueError
            If a member is not registered.

        Examples
        --------
        >>> lamella = Lamella("L1")
        >>> try:
        ...     lamella.references("eels")
        ... except KeyError as error:
        ...     print(error.args[0])
        There is no member 'eels'; there are none.
        """
        member = self._member(key)
        chosen = self._only(OrientationMaps, source, "orientation maps")
        overlap, margin = self._overlap(key, chosen)
        masks = pure_pixels(self[chosen], self._framed(chosen), self._framed(key), overlap, margin, posterior)
        record = provenance.record(
            "references",
            parameters={"from": chosen, "to": key, "posterior": posterior, "margin_nm": float(margin.mean())},
        )
        template = FrameMap("", np.zeros(margin.shape), covered=overlap.covered, margin=margin, axes=member.axes)
        found = {}
        for name, mask in masks.items():
            if mask.any():
                found[name] = template._map(mask, f"Pure {name} by diffraction")
                found[name].metadata.set_item("ASSB.provenance", provenance.to_plain(record))
        return found

    def agreement(self, *, fdr: float = 0.05) -> tuple[Claim, ...]:
        """What two signals say of the same thing, contradictions first.

        Parameters
        ----------
        fdr
            Share of false ones among particles that are called contradictions.

        Returns
        -------
        tuple of Claim
            Each with its number and p value; see :class:`Claim`.

        Raises
        ------
        AssbValueError
            If members are not registered.

        Examples
        --------
        >>> Lamella("L1").agreement()
        ()
        """
        return judge_agreement(self, fdr=fdr)

    def report(self, path: str | PathLike[str], *, fdr: float = 0.05) -> None:
        """Write one page: contradictions, claims, registrations, maps, and a viewer of linked maps.

        Parameters
        ----------
        path
            Ending in .html. The page holds all it shows and asks no server.
        fdr
            As for :meth:`agreement`.

        Raises
        ------
        AssbValueError
            If the ending is another one, or members are not registered.
        AssbFileError
            If it cannot be written.

        Examples
        --------
        >>> try:
        ...     Lamella("L1").report("L1.pdf")
        ... except ValueError as error:
        ...     print(error)
        L1.pdf: the report is a page, whose name ends in .html.
        """
        from hyperspy_assb.lamella.lamella_report import write_lamella_report

        write_lamella_report(self, path_of(path, "path"), fdr=fdr)

    # ----------------------------------------------------------------- results

    def summary(self) -> str:
        """Members with their frames, registrations and files, and files that were moved or changed."""
        count = len(self.members)
        lines = [f"Lamella {self.name} has {count} member{'' if count == 1 else 's'}."]
        for key, member in self.members.items():
            words = [member.kind]
            if member.frame is not None:
                words.append(
                    f"{member.frame.shape[0]} x {member.frame.shape[1]} pixels of {member.frame.coarseness:.3g} nm"
                )
                words.append(self._registration_in_words(key))
            if np.isfinite(member.bias):
                words.append(f"at {member.bias:g} V")
            words.append(f"from {Path(member.path).name}" if member.path else "in memory alone")
            lines.append(f"{key}: {', '.join(words)}.")
        return "\n".join((*lines, *self.check_inputs(), *self.notes))

    def plot(self) -> Axes | NDArray[np.object_]:
        """Plot the images of all registered members in the frame of the first, as a checkerboard with the reference.

        Returns
        -------
        numpy.ndarray of matplotlib.axes.Axes
            One for each member.

        Raises
        ------
        AssbValueError
            If nothing is registered.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> image = hs.signals.Signal2D(np.arange(64.0).reshape(8, 8))
        >>> for axis in image.axes_manager.signal_axes:
        ...     axis.scale, axis.units = 10.0, "nm"
        >>> lamella = Lamella("L1")
        >>> lamella.add("haadf", image)
        >>> table = lamella.register("haadf")
        >>> len(lamella.plot())
        1
        """
        from hyperspy_assb.plotting.lamella import plot_checkerboards

        keys = [key for key, member in self.members.items() if member.registration is not None]
        if not keys:
            raise AssbValueError(f"No member of {self.name} is registered: call register first.")
        reference = next(key for key in keys if not self.members[key].registration.transform.covariance.any())
        fixed = self._image(reference, {})
        moved = {key: self._overlap(reference, key)[0].mean(self._image(key, {})) for key in keys}
        return plot_checkerboards(fixed, moved)

    def save(self, path: str | PathLike[str], *, overwrite: bool | None = None) -> None:
        """Save keys, frames and registrations in one file, which refers to the files of the members by path and hash.

        Parameters
        ----------
        path
            Ending in .hspy or .zspy.
        overwrite
            As in HyperSpy: None asks, False keeps what is there.

        Raises
        ------
        AssbValueError
            If a member is in memory alone.
        AssbFileError
            If the file cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> import hyperspy_assb
        >>> path = Path(tempfile.mkdtemp()) / "L1.hspy"
        >>> Lamella("L1").save(path)
        >>> hyperspy_assb.load(path).name
        'L1'
        """
        alone = [key for key, member in self.members.items() if not member.path]
        if alone:
            raise AssbValueError(
                f"{', '.join(alone)}: in memory alone. Save each with its own save and add its path, "
                f'lamella.add("{alone[0]}", path), so that the file can refer to it.'
            )
        super().save(path, overwrite=overwrite)

    def _shown(self) -> Any:
        signal = hs.signals.BaseSignal(np.zeros(max(len(self.members), 1)))
        signal.metadata.General.title = self.name
        return signal

    def _table(self) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    "key": key,
                    "kind": member.kind,
                    "bias (V)": member.bias,
                    "pixel (nm)": float("nan") if member.frame is None else member.frame.coarseness,
                    "file": Path(member.path).name,
                }
                for key, member in self.members.items()
            ]
        )

    # ------------------------------------------------------------------- parts

    @cached_property
    def _held(self) -> dict[str, Any]:
        """Signals and results that were read; never saved."""
        return {}

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
            raise AssbValueError("An array does not tell whose pixels it has: give source=.")
        axes = frame_axes(values)
        frame = None if axes is None else frame_of_axes(axes, "the map")
        same = [key for key, member in self.members.items() if _same_frame(member.frame, frame)]
        if len({self._root(key) for key in same}) != 1:
            raise AssbValueError(
                f"The axes of the map are those of {', '.join(same) or 'no member'}: give source= of the member whose "
                "pixels it has."
            )
        return same[0]

    def _quantities(self, key: str) -> dict[str, NDArray[Any]]:
        held = self[key]
        shape = self._framed(key).shape
        if isinstance(held, Result):
            columns = {name: np.reshape(values, shape) for name, values in held._pixel_columns().items()}
            if held.statuses is not None:
                columns["status"] = np.reshape(np.array(held._in_words(held._status())), shape)
            return columns
        return {"counts": registration_image(held)}

    def _registration_in_words(self, key: str) -> str:
        member = self.members[key]
        if member.frame_of:
            return f"in the pixels of {member.frame_of}"
        if member.registration is None:
            return "not registered"
        error = float(member.registration.transform.inverse.position_std(member.frame.centre))
        return "reference" if error == 0.0 else f"registered within {error:.2g} nm (p = {member.registration.p:.2g})"

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


def _read(path: Path, key: str) -> Any:
    """A result, or else a signal that HyperSpy reads lazily."""
    if not path.exists():
        raise AssbFileNotFoundError(f"{key}: there is no file {path}.")
    try:
        return load(path)
    except AssbFileError as not_a_result:
        try:
            found = hs.load(str(path), lazy=True)
        except Exception as error:
            raise AssbFileError(
                f"{key}: {path} holds neither a result ({not_a_result}) nor a signal ({error})."
            ) from error
    if isinstance(found, list):
        raise AssbFileError(f"{key}: {path} holds {len(found)} signals: load it, and add the one that is meant.")
    return found


def _file_of(what: Any) -> Path | None:
    """The file that HyperSpy read a signal from or wrote it to, if it is there."""
    parameters = getattr(what, "tmp_parameters", None)
    if parameters is None or not parameters.has_item("filename") or not parameters.has_item("extension"):
        return None
    folder = parameters.folder if parameters.has_item("folder") else ""
    extension = str(parameters.extension)
    path = Path(folder or ".") / f"{parameters.filename}{extension if extension.startswith('.') else '.' + extension}"
    return path if path.exists() else None


def _problem(key: str, member: Member) -> str:
    """What is wrong with the file of a member; empty if nothing is."""
    path = Path(member.path)
    if not path.exists():
        return f"{key}: its file {path} was moved or deleted: name it by lamella.relocate({key!r}, path)."
    if provenance.describe_file(path)["sha256"] != member.sha256:
        return f"{key}: its file {path} was changed since it was added: add what it holds now under another key."
    return ""


def _plain_axis(axis: Mapping[str, Any]) -> dict[str, Any]:
    kept = {"name": str(axis.get("name") or ""), "size": int(axis["size"])}
    kept |= {"scale": float(axis.get("scale", 1.0)), "offset": float(axis.get("offset", 0.0))}
    units = axis.get("units")
    return {**kept, "units": units if isinstance(units, str) else "", "navigate": True}


def _same_frame(one: ImageFrame | None, other: ImageFrame | None) -> bool:
    if one is None or other is None or one.shape != other.shape:
        return False
    near = np.allclose(one.pixel, other.pixel, rtol=_SAME) and np.allclose(
        one.origin, other.origin, rtol=0.0, atol=_SAME * one.coarseness
    )
    return bool(near)


def _title(values: Any) -> str:
    metadata = getattr(values, "metadata", None)
    title = str(metadata.General.title) if metadata is not None and metadata.has_item("General.title") else ""
    return title or "map"


def _carried(
    name: str,
    values: NDArray[Any],
    quantities: Mapping[str, NDArray[Any]],
    overlap: AreaOverlap,
    margin: NDArray[np.float64],
    frame: ImageFrame,
) -> NDArray[Any]:
    """A column of the table: means by area, standard errors of these, words by majority."""
    if values.dtype.kind in "fiub":
        for suffix in ("_std", " std"):
            base = quantities.get(name.removesuffix(suffix)) if name.endswith(suffix) else None
            if base is not None:
                return overlap.mean_std(base.astype(float), values.astype(float)).ravel()
        return overlap.mean(values.astype(float)).ravel()
    words, labels = np.unique(values.astype(str), return_inverse=True)
    labels = labels.reshape(values.shape)
    near = away_from_others(labels, frame)
    found = overlap.majority(labels)
    distance = overlap.mean(np.where(np.isfinite(near), near, 1e9), least=0.0)
    found = np.where(distance > margin, found, -1).ravel()
    return np.where(found >= 0, words[np.maximum(found, 0)], None)
