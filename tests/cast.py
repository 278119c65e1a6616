"""The fixed cast of the tests: who uses the system, and what lies in it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.files.base import ContentFile

from detection.fields import Secret
from detection.models import Analysis, Camera, Capture, Chunk, Media, Model
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
SECRET = "s3cret"
ADDRESS = f"http://viewer:{SECRET}@10.0.0.5/snap.jpg"
# What a browser sends of the form of a camera, filled in; and the address that becomes of it.
TYPED: dict[str, Any] = {
    "name": "Gate",
    "source": "http",
    "address": "http://10.0.0.9/snap.jpg",
    "username": "viewer",
    "password": SECRET,
    "rtsp_transport": "tcp",
    "verify_tls": "on",
    "schedule": "every",
    "every_s": "60",
    "days": list("1234567"),
    "time_zone": "Europe/Berlin",
    "jitter_s": "0",
    "frozen_after": "5",
    "is_analysed": "on",
}
ENTERED = f"http://viewer:{SECRET}@10.0.0.9/snap.jpg"


def a_user(group: str = "") -> User:
    """A person in a group: viewer, reviewer, operator, or none."""
    user = User.objects.create_user(f"the {group or 'stranger'}", password="only for tests")
    if group:
        user.groups.add(Group.objects.get(name=group))
    return user


def a_media(content: bytes = b"a clip", info: MediaInfo = CLIP, name: str = "yard.mp4") -> Media:
    """A stored media; its bytes are not a real clip."""
    digest = hashlib.sha256(content).hexdigest()
    known = Media.known(digest)
    return known or Media.with_files(ContentFile(content), digest, info, name=name, preview=b"a preview").keep().media


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


def a_camera(name: str = "", **fields: object) -> Camera:
    """A camera in service, every minute unless told otherwise; its address has a password in it.

    What only verbs write (``state``, ``failures``, ``next_at``, ``last_media`` ...) can be given as well.
    """
    verbs_write = {field.name for field in Camera._meta.fields if not field.editable}
    entered = {key: value for key, value in fields.items() if key not in verbs_write}
    written = {key: value for key, value in fields.items() if key in verbs_write}
    address = written.pop("address", Secret.of(ADDRESS))
    camera = Camera(name=name or f"Camera {Camera.objects.count() + 1}", **{"source": "http", **entered})
    camera.put_in_service(address)
    if written:
        Camera.objects.filter(pk=camera.pk).update(**written)
        camera.refresh_from_db()
    return camera


def a_capture(camera: Camera | None = None, state: str = "grabbed", at: datetime = NOON, **fields: object) -> Capture:
    """A capture that ended as ``state`` half a second after its planned time; or, "planned", one still to be grabbed.

    With ``times`` and ``last_at`` it stands for several that were missed.
    """
    if state == Capture.State.PLANNED:
        ends = {"until": at + timedelta(seconds=60)}
    else:
        ends = {"finished_at": at + timedelta(seconds=0.5), "attempts": 0 if state == Capture.State.MISSED else 1}
    whys = {
        "failed": {"kind": "timeout", "why": "The camera timed out: no picture within 8 s."},
        "missed": {"kind": "late", "why": "No worker was free for it in time."},
    }
    return Capture.objects.create(
        camera=camera or a_camera(), state=state, planned_at=at, **{**ends, **whys.get(state, {}), **fields}
    )
