"""A system as the version before left it: `python -m tests.previous`, in the environment of an empty installation.

Made through the models as the migrations of that version describe them, without today's code of theirs.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import django

LAST = [
    ("detection", "0004_nothing_lost"),
    ("admin", "0003_logentry_add_action_flag_choices"),
    ("auth", "0012_alter_user_first_name_max_length"),
    ("contenttypes", "0002_remove_content_type_name"),
    ("sessions", "0001_initial"),
]
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


class Previous:
    """Rows and files of that version."""

    def __init__(self, apps: Any) -> None:
        self.apps = apps
        self.user = self.row("auth.User", username="grace", password="!", is_staff=True, is_superuser=True)
        group = apps.get_model("auth", "Group").objects.get(name="reviewer")
        self.user.groups.add(group)
        self.model = apps.get_model("detection", "Model").objects.get(name="motion")

    def row(self, table: str, /, **values: Any) -> Any:
        return self.apps.get_model(table).objects.create(**values)

    def media(self, content: bytes, kind: str = "clip", **values: Any) -> Any:
        from detection.storage import put

        sha256 = hashlib.sha256(content).hexdigest()
        folder = f"{sha256[:2]}/{sha256}-00000000"
        put(f"{folder}/media.mp4", content)
        put(f"{folder}/preview.jpg", b"small")
        given = {
            "sha256": sha256,
            "kind": kind,
            "name": f"{content.decode()}.mp4",
            "file": f"{folder}/media.mp4",
            "preview": f"{folder}/preview.jpg",
            "bytes": len(content),
            "format": "mp4",
            "codec": "h264",
            "width": 640,
            "height": 360,
            "duration_s": 10.0,
            "frames": 250,
            "at": NOON,
            "uploaded_by": self.user,
        }
        return self.row("detection.Media", **{**given, **values})

    def analysis(self, media: Any, state: str, **values: Any) -> Any:
        from detection.vision.types import Params

        given = {
            "media": media,
            "model": self.model,
            "params": asdict(Params(fps=5.0, chunk_s=60.0)),
            "state": state,
            "code_version": "0.1.0+previous",
        }
        if state in ("done", "failed", "cancelled"):
            given |= {"finished_at": NOON + timedelta(minutes=1), "started_at": NOON, "attempts": 1}
        return self.row("detection.Analysis", requested_by=self.user, requested_at=NOON, **{**given, **values})

    def chunk(self, analysis: Any, number: int, state: str, **values: Any) -> Any:
        from detection.vision.pack import pack
        from detection.vision.types import Detection, FrameDetections

        given = {"number": number, "start_s": 5.0 * number, "end_s": 5.0 * number + 5, "frames": 125, "state": state}
        if state == "done":
            seen = FrameDetections(5.0 * number, True, (Detection(1.0, 2.0, 30.0, 40.0, 0.9, "motion"),))
            given |= {"detections": pack([seen]), "frames_read": 125, "frames_sampled": 25, "finished_at": NOON}
        return self.row("detection.Chunk", analysis=analysis, **{**given, **values})

    def fill(self) -> None:
        self.reviewed()
        self.under_way()
        self.cameras()

    def reviewed(self) -> None:
        from detection.storage import put

        media = self.media(b"reviewed", is_kept=True)
        done = self.analysis(media, "done", is_current=True, step="finish", frames_read=250, frames_planned=250)
        self.chunk(done, 0, "done"), self.chunk(done, 1, "done")
        path = [[1.0, 10.0, 20.0, 30.0, 40.0, 0.9], [1.2, 12.0, 20.0, 32.0, 40.0, 0.8]]
        thumbnail = f"{media.file.name.rpartition('/')[0]}/sightings/1-00000000-1.jpg"
        put(thumbnail, b"thumbnail")
        times = {"start_s": 1.0, "end_s": 1.2}
        sighting = self.row(
            "detection.Sighting",
            analysis=done,
            media=media,
            number=1,
            label="motion",
            shown_label="van",
            score=0.85,
            best_s=1.0,
            at=NOON + timedelta(seconds=1),
            path=path,
            thumbnail=thumbnail,
            **times,
        )
        said = {"media": media, "sighting": sighting, "user": self.user, "box": [10.0, 20.0, 30.0, 40.0], **times}
        first = self.row("detection.Verdict", kind="rejected", label="motion", **said)
        verdict = self.row("detection.Verdict", kind="relabelled", label="van", before=first, keeps_media=True, **said)
        sighting.verdict = verdict
        sighting.save()
        self.analysis(self.media(b"broken"), "failed", error_kind="unreadable", error="It is damaged.")
        self.analysis(self.media(b"cancelled"), "cancelled")
        self.row("detection.Proxy", media=media, state="failed", error="x", attempts=3, finished_at=NOON)

    def under_way(self) -> None:
        """What the version before had not finished: queued, lost by a worker that is gone, ready for its finish."""
        self.analysis(self.media(b"queued"), "queued", lane="bulk", sent_at=NOON)
        looked_at = self.analysis(self.media(b"looked at"), "running", step="detect", started_at=NOON)
        self.chunk(looked_at, 0, "done")
        held = {"lease": uuid4(), "lease_until": NOON, "attempts": 1, "worker": "analyse@gone", "started_at": NOON}
        self.chunk(looked_at, 1, "running", **held)
        ready = self.analysis(self.media(b"ready"), "running", step="detect", frames_planned=250, started_at=NOON)
        self.chunk(ready, 0, "done"), self.chunk(ready, 1, "done")

    def cameras(self) -> None:
        from detection.fields import Secret

        snap = self.media(b"snapshot", "image", captured_at=NOON, captured_at_source="capture", uploaded_by=None)
        camera = self.row(
            "detection.Camera",
            name="Gate",
            source="http",
            address=Secret.of("http://viewer:s3cret@10.0.0.5/snap.jpg"),
            state="offline",
            failures=4,
            failing_since=NOON,
            state_since=NOON,
            last_good_at=NOON,
            accounted_until=NOON,
            alarm="offline",
            last_media=snap,
            next_at=NOON,
            retain_days=7,
        )
        snap.camera = camera
        snap.save()
        grabbed = {"state": "grabbed", "media": snap, "finished_at": NOON, "attempts": 1}
        self.row("detection.Capture", camera=camera, planned_at=NOON, **grabbed)
        tried = [{"at": NOON.isoformat(), "kind": "timeout", "why": "no picture"}]
        failed = {"state": "failed", "kind": "timeout", "why": "no picture", "tried": tried, "finished_at": NOON}
        self.row("detection.Capture", camera=camera, planned_at=NOON + timedelta(minutes=1), **failed)
        event = self.row("detection.CameraEvent", camera=camera, kind="offline", at=NOON, why="no picture")
        self.row("detection.Notification", event=event, channel="email", due_at=NOON, state="queued")


def main() -> None:
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.loader import MigrationLoader

    settings.DATA_DIR.mkdir(parents=True)
    for app, name in LAST:
        call_command("migrate", app, name, verbosity=0)
    Previous(MigrationLoader(connection).project_state(LAST).apps).fill()


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    main()
