"""What workers count and time, at the few places where it becomes known; next to nothing for each picture.

By this machine's clock and not the database's: measuring asks nobody, and cannot fail what is done already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from django.utils.timezone import now

from detection.metrics.instruments import (
    CAPTURE_DELAY_SECONDS,
    CAPTURE_FAILURES,
    CAPTURES,
    FRAMES,
    INFERENCE_SECONDS,
    RESULT_SECONDS,
    SIGHTINGS,
    TASK_SECONDS,
    TASKS,
)
from detection.models import Analysis, Capture, Model
from detection.vision.types import DetectStats, Track
from workers import stages


def ended(task: str, how: str, took_s: float | None = None) -> None:
    """A task is over; nobody knows how long it took where its process died."""
    TASKS.add(task, how)
    if took_s is not None:
        TASK_SECONDS.observe(took_s, task)


def looked(stats: DetectStats, model: Model) -> None:
    """A chunk, or a picture, was looked at: decoded and detected at the same time, by two threads."""
    stages.took("decode", stats.decode_s)
    stages.took("infer", stats.infer_s)
    FRAMES.add_all(
        {("read",): stats.frames_read, ("sampled",): stats.frames_sampled, ("inferred",): stats.frames_inferred}
    )
    for took_s in stats.batches_s:
        INFERENCE_SECONDS.observe(took_s, model.name, model.runtime)


def concluded(analysis: Analysis, tracks: Sequence[Track]) -> None:
    """Its result is stored."""
    waited_s = (now() - analysis.queued_at).total_seconds()
    RESULT_SECONDS.observe(waited_s, analysis.lane, analysis.media.kind)
    for label, count in Counter(track.label for track in tracks).items():
        SIGHTINGS.add(label, by=count)


def grabbed(capture: Capture) -> None:
    state = capture.camera.state
    CAPTURES.add(Capture.State.GRABBED.value, state)
    if not capture.is_manual:
        CAPTURE_DELAY_SECONDS.observe((now() - capture.planned_at).total_seconds(), state)


def not_grabbed(kind: str) -> None:
    """An attempt failed; the capture counts where it ends (detection/models/capture.py)."""
    CAPTURE_FAILURES.add(kind)
