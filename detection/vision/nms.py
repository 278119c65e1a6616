"""Overlap of boxes, and the suppression of boxes that say the same."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Corners: TypeAlias = tuple[float, float, float, float]
Floats = npt.NDArray[np.float32] | npt.NDArray[np.float64]


def overlaps(first: Floats, second: Floats) -> npt.NDArray[np.float64]:
    """Intersection over union of boxes, N x 4 and M x 4 corners; N x M, 0 where both are empty."""
    a, b = first[:, None].astype(np.float64), second[None].astype(np.float64)
    size = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    inner = size.clip(0).prod(axis=-1)
    union = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1) - inner
    shared: npt.NDArray[np.float64] = np.divide(inner, union, out=np.zeros_like(inner), where=union > 0)
    return shared


def overlap(first: Corners, second: Corners) -> float:
    """``overlaps`` of two boxes, to the last bit; NumPy takes fifty times longer for so few."""
    width = max(0.0, min(first[2], second[2]) - max(first[0], second[0]))
    height = max(0.0, min(first[3], second[3]) - max(first[1], second[1]))
    inner = width * height
    sizes = [(x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in (first, second)]
    union = sizes[0] + sizes[1] - inner
    return inner / union if union > 0 else 0.0


def suppress(
    boxes: Floats, scores: Floats, classes: npt.NDArray[np.intp], min_score: float, iou: float
) -> npt.NDArray[np.intp]:
    """The indexes of the boxes to keep, best score first.

    Greedy non-maximum suppression, each label by itself: a box goes where one of its label with a better score overlaps
    it by more than ``iou``.
    """
    order = np.flatnonzero(scores > min_score)
    order = order[np.argsort(-scores[order], kind="stable")]
    chosen = boxes[order]
    alike = (overlaps(chosen, chosen) > iou) & (classes[order][:, None] == classes[order][None])
    gone = np.zeros(len(order), dtype=bool)
    for row in range(len(order)):
        if not gone[row]:
            gone[row + 1 :] |= alike[row, row + 1 :]
    return order[~gone]
