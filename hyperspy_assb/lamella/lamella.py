"""One lamella, looked at by every signal."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import hyperspy.api as hs
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hyperspy_assb import provenance
from hyperspy_assb.errors import AssbTypeError, AssbValueError
from hyperspy_assb.lamella.agreement import Claim, judge_agreement
from hyperspy_assb.lamella.frame_map import FrameMap, carried_column, title_of
from hyperspy_assb.lamella.member_frames import map_values
from hyperspy_assb.lamella.pure_pixels import pure_pixels
from hyperspy_assb.lamella.registered_members import RegisteredMembers
from hyperspy_assb.registration.area_overlap import away_from_others
from hyperspy_assb.signals.acom.orientations import OrientationMaps
from hyperspy_assb.signals.region_mask import Names, region_masks
from hyperspy_assb.staging import path_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Lamella(RegisteredMembers):
    """Signals and results of one lamella, and how their frames lie in each other.

    Parameters
    ----------
    name
        Of the lamella.
    members
        By key; ``add`` fills it.

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
            If a member is not registered, the shape is wrong, or the axes do not identify the source.

        Examples
        --------
        >>> import hyperspy.api as hs
        >>> from hyperspy_assb.registration.affine import Affine
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
        if data.dtype.kind not in "biuf":
            raise AssbTypeError(f"values must be a map of numbers, not of {data.dtype}.")
        if how is None:
            how = "labels" if data.dtype.kind in "biu" else "mean"
        quantity = title_of(values)
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
                columns[f"{key}: {name}"] = carried_column(name, values, quantities, overlap, margin, member.frame)
        table = pd.DataFrame(columns, copy=False)
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
            If there are no orientation maps, or several and no name is given.
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
        tuple
            Each with its number and p value; see ``hyperspy_assb.lamella.agreement.Claim``.

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
        reference = next(key for key in keys if self.members[key].reference)
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
                f"{', '.join(alone)}: only in memory. Save each result and add its path, "
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
