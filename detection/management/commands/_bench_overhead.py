"""`manage.py bench overhead`: what rows, leases and messages cost for each picture, over looking at it."""

from __future__ import annotations

import hashlib
import os
import time
from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from django.core.files.base import ContentFile
from django.core.management.base import CommandError
from django.db import connection
from PIL import Image as PillowImage

from detection.management.commands._bench_farm import (
    Say,
    add_server_arguments,
    cpu_s,
    folder_inside,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._bench_models import activate_model_that_sees
from detection.models import Analysis, Media, Model
from detection.vision import pipeline
from detection.vision.detector import load_detector
from detection.vision.types import MediaInfo, Params
from workers.tasks import send_analysis

WARM_UP = 20
SIZE = 160  # of the pictures and of the model's input
INFO = MediaInfo("image", "jpeg", "mjpeg", SIZE, SIZE, 0.0, 1, 0, None, True)


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=300)
    add_server_arguments(parser)


def bench_overhead(options: Mapping[str, Any], say: Say) -> None:
    """Analyses pictures with a real worker, and again with the vision code alone; what lies between is overhead."""
    folder = folder_inside("overhead", options, say)
    if folder is None:
        return
    with temporary_database(folder) as url:
        # The smaller the picture and the quicker the model, the less the detector's time blurs the rest.
        model = activate_model_that_sees(1, folder / "model", SIZE)
        environment = {**os.environ, "DATABASE_URL": url, "BROKER_URL": ""}
        with running(folder, environment, ("analyse",)) as processes:
            media = [store_picture(number) for number in range(WARM_UP + options["images"])]
            _analyse(media[:WARM_UP], processes)
            worker, broker = (processes.pids()[name] for name in ("analyse", "broker"))
            before, broker_before, began = cpu_s(worker), cpu_s(broker), time.perf_counter()
            _analyse(media[WARM_UP:], processes)
            wall_s = time.perf_counter() - began
            count = options["images"]
            worker_ms = (cpu_s(worker) - before) * 1000 / count
            broker_ms = (cpu_s(broker) - broker_before) * 1000 / count
        pure_ms = _pure_ms(media[WARM_UP:], model)
    say(f"{count} pictures on {connection.vendor}, one worker process, {count / wall_s:.0f} a second")
    say(f"the worker's CPU for each: {worker_ms:.1f} ms; of it the vision code alone: {pure_ms:.1f} ms")
    say(f"rows, leases and messages: {worker_ms - pure_ms:.1f} ms of CPU for each; the broker's: {broker_ms:.1f} ms")


def store_picture(number: int) -> Media:
    """A small picture of noise, stored as one that came in."""
    pixels = np.random.default_rng(number).integers(0, 255, (SIZE // 8, SIZE // 8, 3), np.uint8)
    out = BytesIO()
    PillowImage.fromarray(pixels).resize((SIZE, SIZE)).save(out, format="JPEG")
    content = out.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    return Media.with_files(ContentFile(content), digest, INFO, name=f"{number}.jpg").keep().media


def _analyse(media: Sequence[Media], processes: Any) -> None:
    asked = [Analysis.request(one) for one in media]
    for analysis in asked:
        if not send_analysis(analysis):
            raise CommandError("The broker of the bench does not take messages.")
    rows = Analysis.objects.filter(pk__in=[analysis.pk for analysis in asked])
    open_rows = rows.filter(Analysis.UNFINISHED)
    wait_for("the analyses", lambda: not open_rows.exists(), 300, processes)
    if bad := rows.exclude(state=Analysis.State.DONE).first():
        raise CommandError(f"An analysis of the bench is {bad.state}: {bad.error}")


def _pure_ms(media: Sequence[Media], model: Model) -> float:
    """CPU milliseconds of the vision code for each: reading, detecting, tracking, thumbnails; all threads."""
    params = Params()
    detector = load_detector(model.runtime, model.local_weights(), params)

    def look(one: Media) -> None:
        path = one.local_path()
        frames, _ = pipeline.detect(path, "image", None, detector, params)
        list(pipeline.thumbnails(path, "image", pipeline.track("image", frames, params)))

    for one in media[:WARM_UP]:
        look(one)
    began = time.process_time()
    for one in media:
        look(one)
    return (time.process_time() - began) * 1000 / len(media)
