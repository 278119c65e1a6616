"""`manage.py bench lists`: the list of sightings with very many rows, while many people ask for it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management import call_command
from django.core.management.base import CommandError

from detection.management.commands._ask import reaches
from detection.management.commands._bench_farm import (
    Say,
    add_server_arguments,
    children,
    folder_inside,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._browse import administrators_session
from detection.models import Analysis, Camera, Media, Model, Sighting

PER_MEDIA = 5
LABELS = ("person", "car", "dog", "cat", "bird", "bicycle", "truck", "horse")
BATCH = 5000
START = datetime(2026, 1, 1, tzinfo=UTC)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--rows", type=int, default=100_000, help="sightings")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second, whether answered or not")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--processes", type=int, default=2, help="of the web server")
    parser.add_argument("--path", default="/sightings/", help="what is asked for")
    add_server_arguments(parser)


def bench_lists(options: Mapping[str, Any], say: Say) -> None:
    """Asks at a steady rate, so that a slow answer does not put off the next question."""
    folder = folder_inside("lists", options, say)
    if folder is None:
        return
    with temporary_database(folder) as url:
        fill(options["rows"])
        key = str(administrators_session(make=True).session_key)
        call_command("collectstatic", "--no-input", verbosity=0)
        given = {"DATABASE_URL": url, "WEB_PROCESSES": str(options["processes"]), "RATE_LIST": "0"}
        environment = {**os.environ, **given}
        with running(folder, environment, ("web",)) as processes:
            address = f"127.0.0.1:{environment['PORT']}"
            wait_for("the pages", lambda: reaches(address), 60, processes)
            for seconds in (5.0, options["seconds"]):  # the first are not counted
                told = _ask(address, key, options, seconds)
            web = processes.pids()["web"]
            say(f"{options['rows']} sightings, {options['path']}: {told}")
            say(f"web: {sum(1 for _ in children(web))} processes")


def fill(rows: int) -> None:
    """Writes so many sightings, five to a media, which nobody has judged."""
    camera = Camera.objects.create(name="Yard", source="http")
    model = Model.objects.get(is_active=True)  # motion, of a database that is new
    for first in range(0, rows // PER_MEDIA, BATCH // PER_MEDIA):
        numbers = range(first, min(first + BATCH // PER_MEDIA, rows // PER_MEDIA))
        media = Media.objects.bulk_create(_media(number, camera) for number in numbers)
        analyses = Analysis.objects.bulk_create(_analysis(one, model) for one in media)
        Sighting.objects.bulk_create(_sighting(one, number) for one in analyses for number in range(PER_MEDIA))


def _media(number: int, camera: Camera) -> Media:
    at = START + timedelta(seconds=60 * number)
    digest = hashlib.sha256(str(number).encode()).hexdigest()
    return Media(
        sha256=digest, kind="image", name=f"yard-{number}.jpg", file=f"{digest[:2]}/{digest}/media.jpeg", bytes=100_000,
        format="jpeg", codec="mjpeg", width=1280, height=720, captured_at=at, captured_at_source="capture", at=at,
        camera=camera, created_at=at,
    )  # fmt: skip


def _analysis(media: Media, model: Model) -> Analysis:
    return Analysis(
        media=media, model=model, params={}, state="done", is_current=True, requested_at=media.at, finished_at=media.at,
        code_version="bench", frames_read=1, frames_sampled=1, frames_inferred=1,
    )  # fmt: skip


def _sighting(analysis: Analysis, number: int) -> Sighting:
    label = LABELS[(analysis.pk + number) % len(LABELS)]
    return Sighting(
        analysis=analysis, media_id=analysis.media_id, number=number, label=label, shown_label=label, score=0.8,
        start_s=0, end_s=0, best_s=0, at=analysis.requested_at, path=[[0.0, 10.0, 10.0, 90.0, 90.0, 0.8]],
        thumbnail=f"x/{analysis.pk}/{number}.jpg",
    )  # fmt: skip


def _ask(address: str, key: str, options: Mapping[str, Any], seconds: float) -> str:
    """Asks from a process of its own, so that asking does not wait for the bench."""
    command = [sys.executable, str(Path(__file__).with_name("_ask.py"))]
    words = [address, options["path"], key, str(options["rate"]), str(seconds)]
    done = subprocess.run([*command, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandError(done.stderr[-2000:])
    return done.stdout.strip()
