"""How the tests hold what a detector found against the truth of a drawn scene."""

from __future__ import annotations

from collections.abc import Sequence

from detection.vision.types import Detection


def overlap(one: Detection, other: Detection) -> float:
    """Intersection over union."""
    shared = _shared(one, other)
    return shared / (_area(one) + _area(other) - shared)


def covered(one: Detection, other: Detection) -> float:
    """How much of one lies inside the other."""
    return _shared(one, other) / _area(one)


def recall_precision(
    found: Sequence[Sequence[Detection]], truth: Sequence[Sequence[Detection]], iou: float = 0.5
) -> tuple[float, float]:
    """Over all pictures: the share of the truth that was found, each box used once and labels alike, and of the found
    that is true."""
    hits = wanted = answers = 0
    for detections, objects in zip(found, truth, strict=True):
        free = list(objects)
        wanted, answers = wanted + len(objects), answers + len(detections)
        for detection in sorted(detections, key=lambda detection: -detection.score):
            same = [other for other in free if other.label == detection.label]
            best = max(same, key=lambda other: overlap(detection, other), default=None)
            if best is not None and overlap(detection, best) >= iou:
                free.remove(best)
                hits += 1
    return hits / max(wanted, 1), hits / max(answers, 1)


def _shared(one: Detection, other: Detection) -> float:
    width = min(one.x2, other.x2) - max(one.x1, other.x1)
    height = min(one.y2, other.y2) - max(one.y1, other.y1)
    return max(0.0, width) * max(0.0, height)


def _area(box: Detection) -> float:
    return (box.x2 - box.x1) * (box.y2 - box.y1)
