"""The fixed cast of the tests: who uses the system, and what lies in it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile

from detection.models import Analysis, Chunk, Media, Model
from detection.vision.pack import pack
from detection.vision.types import Detection, DetectStats, FrameDetections, MediaInfo, Span, Track, TrackPoint

CLIP = MediaInfo(
    kind="clip",
    format="mp4",
    codec="h264",
    width=640,
    height=360,
    duration_s=10.0,
    frames=250,
    rotation_deg=0,
    captured_at=None,
    browser_plays=True,
)
IMAGE = MediaInfo(
    kind="image",
    format="jpeg",
    codec="mjpeg",
    width=640,
    height=360,
    duration_s=0.0,
    frames=1,
    rotation_deg=0,
    captured_at="2026-03-01T08:30:00+01:00",
    browser_plays=True,
)
SPANS = [Span(0, 0.0, 5.0, 125), Span(1, 5.0, 10.0, 125)]
NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def a_user(group: str = "") -> User:
    """A person in a group: viewer, reviewer, operator, or none."""
    user = User.objects.create_user(f"the {group or 'stranger'}", password="only for tests")
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def a_media(content: bytes = b"a clip", info: MediaInfo = CLIP, name: str = "yard.mp4") -> Media:
    """A stored media; its bytes are not a real clip."""
    digest = hashlib.sha256(content).hexdigest()
    return Media.store(ContentFile(content), digest, info, name=name, preview=b"a preview").media


def a_model(name: str = "cars", labels: tuple[str, ...] = ("car", "person")) -> Model:
    return Model.objects.create(name=name, runtime="openvino", labels=list(labels), sha256="ab" * 32)


def a_track(label: str = "car", start_s: float = 1.0, x: float = 100.0, score: float = 0.8, steps: int = 5) -> Track:
    """Something that moves to the right for a second, 10 pixels a step; its third point is its best."""
    points = tuple(
        TrackPoint(start_s + 0.2 * n, x + 10 * n, 50.0, x + 10 * n + 80, 100.0, score + (0.1 if n == 2 else 0))
        for n in range(steps)
    )
    return Track(label, score, points)


def a_running_analysis(media: Media | None = None, **asked: object) -> Analysis:
    """An analysis whose two chunks are planned and free."""
    analysis = Analysis.claim(Analysis.request(media or a_media(), **asked).pk, "planner")
    assert analysis is not None
    analysis.planned(SPANS)
    analysis.refresh_from_db()
    return analysis


def do_chunks(analysis: Analysis) -> None:
    """Finishes all chunks with a detection each."""
    for chunk in analysis.chunks.all():
        claimed = Chunk.claim(chunk.pk, "worker")
        assert claimed is not None
        seen = FrameDetections(chunk.start_s, True, (Detection(1.0, 2.0, 30.0, 40.0, 0.9, "car"),))
        claimed.finish(pack([seen]), DetectStats(125, 25, 20, 0.5, 1.5))


def a_done_analysis(media: Media | None = None, tracks: list[Track] | None = None, **asked: object) -> Analysis:
    """An analysis with its sightings: one car unless told otherwise."""
    analysis = a_running_analysis(media, **asked)
    do_chunks(analysis)
    finishing = Analysis.claim_finish(analysis.pk, "worker")
    assert finishing is not None
    finishing.finish([a_track()] if tracks is None else tracks, {}, finish_s=0.1)
    finishing.refresh_from_db()
    return finishing
