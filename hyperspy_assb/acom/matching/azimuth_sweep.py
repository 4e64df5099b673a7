"""The kernel of the matching: every in-plane angle of a template at once, in 16-bit integers."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray


@cache
def sweeper(azimuths: int) -> Callable[..., None]:
    """Kernel for a number of azimuths, a multiple of 32.

    The number is a constant of the compiled code, so that the sums over azimuths become whole vectors, and the image
    has each radius twice in a row, so that no index wraps. All indices are int64: an unsigned one beside them would
    make the compiler compute in float64.

    Returns
    -------
    sweep
        ``sweep(image, chosen, offsets, weights, count, score, azimuth)`` writes the highest sum of each chosen
        template and its azimuth.

        - image: R * 2 * A, int16, see :func:`~hyperspy_assb.acom.patterns.polar.to_integers`
        - chosen: templates, int64
        - offsets: radius * 2 A + azimuth of each spot, (N, K), int32
        - weights: of each spot, (N, K), int16
        - count: spots of each template, padded, (N,), int64
        - score, azimuth: overwritten at the chosen templates, (N,), int32
    """
    size = int(azimuths)

    @numba.njit(cache=True, nogil=True, error_model="numpy")
    def sweep(
        image: NDArray[np.int16],
        chosen: NDArray[np.int64],
        offsets: NDArray[np.int32],
        weights: NDArray[np.int16],
        count: NDArray[np.int64],
        score: NDArray[np.int32],
        azimuth: NDArray[np.int32],
    ) -> None:
        total = np.empty(size, np.int16)
        for i in range(len(chosen)):
            n = chosen[i]
            for a in range(size):
                total[a] = np.int16(0)
            for k in range(0, count[n], 8):
                w0, w1, w2, w3 = weights[n, k], weights[n, k + 1], weights[n, k + 2], weights[n, k + 3]
                w4, w5, w6, w7 = weights[n, k + 4], weights[n, k + 5], weights[n, k + 6], weights[n, k + 7]
                o0, o1 = np.int64(offsets[n, k]), np.int64(offsets[n, k + 1])
                o2, o3 = np.int64(offsets[n, k + 2]), np.int64(offsets[n, k + 3])
                o4, o5 = np.int64(offsets[n, k + 4]), np.int64(offsets[n, k + 5])
                o6, o7 = np.int64(offsets[n, k + 6]), np.int64(offsets[n, k + 7])
                v0, v1, v2, v3 = (
                    image[o0 : o0 + size],
                    image[o1 : o1 + size],
                    image[o2 : o2 + size],
                    image[o3 : o3 + size],
                )
                v4, v5, v6, v7 = (
                    image[o4 : o4 + size],
                    image[o5 : o5 + size],
                    image[o6 : o6 + size],
                    image[o7 : o7 + size],
                )
                for a in range(size):
                    total[a] = np.int16(
                        total[a]
                        + np.int16(w0 * v0[a])
                        + np.int16(w1 * v1[a])
                        + np.int16(w2 * v2[a])
                        + np.int16(w3 * v3[a])
                        + np.int16(w4 * v4[a])
                        + np.int16(w5 * v5[a])
                        + np.int16(w6 * v6[a])
                        + np.int16(w7 * v7[a])
                    )
            best = np.int16(-32768)
            for a in range(size):
                best = max(best, total[a])
            score[n] = best
            for a in range(size):
                if total[a] == best:
                    azimuth[n] = a
                    break

    compiled: Any = sweep
    return compiled
