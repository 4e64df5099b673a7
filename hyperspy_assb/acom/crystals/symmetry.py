"""Space-group operations of a cell whose CIF has none (P1), from its coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

from hyperspy_assb.fitting.spectra.line_shape import FloatArray

_SAME_METRIC = 0.003
_SAME_PLACE = 0.05


def find_operations(
    metric: FloatArray, sites: FloatArray, kinds: Sequence[object]
) -> list[tuple[NDArray[np.int64], FloatArray]]:
    """Rotations and translations that bring every site onto one of the same kind, identity first.

    Parameters
    ----------
    metric
        a·a, a·b ... of the cell in Å², shape (3, 3).
    sites
        Fractional coordinates, shape (N, 3); they may miss the symmetry by 0.05 Å.
    kinds
        What is on each site.
    """
    groups = [sites[[i for i, other in enumerate(kinds) if other == kind]] for kind in set(kinds)]
    rarest = min(groups, key=len)
    operations = []
    for rotation in _lattice_rotations(metric):
        turned = [group @ rotation.T for group in groups]
        for translation in np.unique(np.round((rarest - rarest[0] @ rotation.T) % 1.0, 6) % 1.0, axis=0):
            if all(_same(a + translation, b, metric) for a, b in zip(turned, groups, strict=True)):
                # Exact fractions: what is left is the error of the coordinates.
                exact = np.round(translation * 24) / 24
                close = np.abs(exact - translation).max() < 0.01
                operations.append((rotation, exact % 1.0 if close else translation))
    return sorted(operations, key=lambda o: (not np.array_equal(o[0], np.eye(3)), np.abs(o[1]).sum()))


def _lattice_rotations(metric: FloatArray) -> list[NDArray[np.int64]]:
    entries = np.array(list(product((-1, 0, 1), repeat=9)), dtype=np.int64).reshape(-1, 3, 3)
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    images = np.einsum("nki,kl,nlj->nij", entries, metric, entries)
    fits = (np.abs(images - metric) / scale).max(axis=(1, 2)) < _SAME_METRIC
    return list(entries[fits & (np.abs(np.rint(np.linalg.det(entries))) == 1)])


def _same(moved: FloatArray, places: FloatArray, metric: FloatArray) -> bool:
    apart = moved[:, None] - places
    apart -= np.rint(apart)
    squared = np.einsum("ijk,kl,ijl->ij", apart, metric, apart)
    return bool((squared.min(axis=1) < _SAME_PLACE**2).all() and (squared.min(axis=0) < _SAME_PLACE**2).all())
