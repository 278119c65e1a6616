"""An installation with something of everything in it: `python -m tests.populated`, in the environment of one.

`python -m tests.populated churn` stores media and removes some again until its standard input is closed.
"""

from __future__ import annotations

import os
import select
import sys
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import django

ODD = "Tor “Süd” / 50 % \\ .., ﷽.mp4"


def fill() -> None:
    """Rows in every table that is backed up, and files of every kind."""
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.auth.models import Permission
    from django.contrib.contenttypes.models import ContentType

    from detection.models import (
        Analysis,
        CameraEvent,
        Capture,
        Chunk,
        LooseFile,
        Media,
        Model,
        Notification,
        Proxy,
        Trial,
    )
    from detection.sources import Source
    from tests.cast import ADDRESS, CLIP, IMAGE, NOON, a_camera, a_capture, a_done_analysis, a_media, a_track, a_user

    reviewer, operator, viewer = a_user("reviewer"), a_user("operator"), a_user("viewer")
    viewer.user_permissions.add(Permission.objects.get(codename="add_verdict"))
    weights = Path(os.environ["DATA_DIR"]) / "weights"
    weights.mkdir(parents=True)
    for name in ("car s.xml", "cärs.bin"):
        (weights / name).write_bytes(b"weights of " + name.encode())
    facts = {"name": "cars", "runtime": "openvino", "labels": ["car"]}
    Model.keep(weights, ["car s.xml", "cärs.bin"], "ab" * 32, **facts).activate()

    done = a_done_analysis(a_media(b"a clip", CLIP, ODD), [a_track("car"), a_track("car", x=400)], user=reviewer)
    first, second = done.sightings.order_by("number")
    first.judge("relabelled", reviewer, "van", keeps_media=True)
    first.judge("confirmed", operator)
    second.judge("rejected", reviewer)
    second.undo(reviewer)
    a_done_analysis(done.media, [a_track("car")])  # carried over
    _thumbnails()

    _work_under_way(operator)
    Analysis.claim(Analysis.request(a_media(b"broken")).pk, "w").fail("unreadable", "It is damaged.", "a tail\n")
    copy = Proxy.objects.create(media=a_media(b"hevc"), state=Proxy.State.DONE, bytes=6, finished_at=NOON)
    copy.file.save(f"{copy.media.folder}/proxy-1.mp4", _content(b"a copy"))
    Proxy.objects.create(media=a_media(b"mpeg"))

    gate = a_camera("Gate", active_from=(NOON - timedelta(hours=5)).time(), retain_bytes=2**40, latitude=52.5)
    for minute, state in enumerate(("grabbed", "failed", "missed", "planned")):
        a_capture(gate, state, NOON + timedelta(minutes=minute), media=a_media(b"snap", IMAGE) if not minute else None)
    Capture.ask(gate, operator)
    event = CameraEvent.tell(gate, CameraEvent.Kind.OFFLINE, "It timed out.")
    Notification.objects.create(event=event, channel="email", due_at=event.at)
    for rows in (Analysis, Chunk, Proxy, Notification):  # their messages are on the way
        rows.mark_sent(list(rows.objects.filter(state="queued").values_list("pk", flat=True)))
    LogEntry.objects.create(
        user=operator,
        content_type=ContentType.objects.get_for_model(Media),
        object_id=str(done.media_id),
        object_repr=ODD,
        action_flag=CHANGE,
        change_message="[]",
    )
    LooseFile.expect(["3f/never/media.mp4"])
    Trial.ask(Source("http", ADDRESS), operator)


def _content(data: bytes) -> Any:
    from django.core.files.base import ContentFile

    return ContentFile(data)


def _thumbnails() -> None:
    from detection.models import Sighting
    from detection.storage import put

    for sighting in Sighting.objects.select_related("media"):
        sighting.thumbnail = f"{sighting.media.folder}/sightings/{sighting.pk}-{sighting.number}.jpg"
        put(sighting.thumbnail, b"a picture of " + str(sighting.pk).encode())
        sighting.save()


def _work_under_way(user: Any) -> None:
    """An analysis that is queued, and one held at each of its steps."""
    from detection.models import Analysis, Chunk, Proxy
    from tests.cast import a_media, a_running_analysis, do_chunks

    Analysis.request(a_media(b"queued"), user=user)
    Analysis.claim(Analysis.request(a_media(b"planning")).pk, "planner")
    looked_at = a_running_analysis(a_media(b"looked at"))
    Chunk.claim(looked_at.chunks.first().pk, "looker")
    finishing = a_running_analysis(a_media(b"finishing"))
    do_chunks(finishing)
    Analysis.claim_finish(finishing.pk, "finisher")
    Proxy.claim(Proxy.objects.create(media=looked_at.media).pk, "copier")


def churn() -> None:
    """As much coming and going as fits, each media with its result and its pictures."""
    from detection.models import Media
    from tests.cast import a_done_analysis, a_media

    print("churning", flush=True)
    for number in count():
        a_done_analysis(a_media(b"churned %d" % number * 1000))
        if number % 3 == 2:
            newest = Media.objects.order_by("-pk")[2]
            newest.remove()
        if select.select([sys.stdin], [], [], 0)[0]:
            print(number, flush=True)
            return


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    django.setup()
    churn() if "churn" in sys.argv else fill()
