"""`manage.py bench memory`: the most memory that the analysis of a short and of a very long clip takes."""

from __future__ import annotations

import resource
import sys
import time
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.core.files.base import File
from django.core.management.base import CommandError

from detection.management.commands._bench_farm import Say, run_inside, temporary_database
from detection.management.commands._bench_models import activate_model_that_sees
from detection.models import Analysis
from detection.models.intake import sha256_of, take_in
from workers.steps import run_here

LENGTHS_MIN = (2, 120)
THINGS = 10
FPS = 10
LOOP_S = 30


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--minutes", type=float, default=0, help="one clip of this length (default: 2 and then 120)")
    parser.add_argument("--inside", type=Path, help=SUPPRESS)


def bench_memory(options: Mapping[str, Any], say: Say) -> None:
    """Analyses a clip with ten things in every picture, each length in a process of its own."""
    folder: Path | None = options["inside"]
    if folder is None:
        for minutes in [options["minutes"]] if options["minutes"] else LENGTHS_MIN:
            run_inside("memory", {"minutes": minutes, "database_url": ""}, say)
        return
    clip = folder / "clip.mp4"
    frames = _write_loop(clip, options["minutes"])
    with temporary_database(folder):
        activate_model_that_sees(THINGS, folder / "model")
        started_mb = _peak_mb()
        began = time.perf_counter()
        with clip.open("rb") as file:
            analysis = take_in(File(file, name=clip.name), clip, sha256_of(clip), clip.name).analysis
        if analysis is None:
            raise CommandError("The clip of the bench was not taken in.")
        run_here(analysis)
        done = Analysis.objects.get(pk=analysis.pk)
        if done.state != Analysis.State.DONE:
            raise CommandError(f"The analysis of the bench is {done.state}: {done.error}")
        points = sum(len(sighting.path) for sighting in done.sightings.iterator(chunk_size=1))
        say(
            f"{options['minutes']:g} minutes, {frames:,} frames in {done.chunks.count()} chunks, {points:,} boxes: "
            f"at most {_peak_mb():.0f} MB ({started_mb:.0f} MB before), {time.perf_counter() - began:.0f} s"
        )


def _write_loop(path: Path, minutes: float) -> int:
    """A drawn clip, its packets repeated until it is long enough; answers how many frames it has."""
    import av

    from detection.vision.draw import draw_scene, write_clip

    short = path.with_name("short.mp4")
    write_clip(short, draw_scene(1, width=320, height=180, seconds=LOOP_S, fps=FPS, parked=False), fps=FPS)
    rounds = max(1, round(minutes * 60 / LOOP_S))
    frames = 0
    with av.open(str(path), "w") as out:
        target = None
        offset = 0
        for _ in range(rounds):
            with av.open(str(short)) as source:
                stream = source.streams.video[0]
                target = target or out.add_stream_from_template(stream)
                for packet in source.demux(stream):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts += offset
                    packet.dts += offset
                    packet.stream = target
                    out.mux(packet)
                    frames += 1
                offset += round(LOOP_S / (stream.time_base or 1))
    return frames


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 if sys.platform != "darwin" else peak / 1024**2
