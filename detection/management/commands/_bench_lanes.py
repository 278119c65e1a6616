"""`manage.py bench lanes`: how long somebody waits while bulk is worked on, and what bulk gets while many wait."""

from __future__ import annotations

import os
import time
from argparse import ArgumentParser
from collections.abc import Mapping
from itertools import count
from statistics import median
from typing import Any

from django.db import connection

from detection.management.commands._bench_farm import (
    Processes,
    Say,
    add_server_arguments,
    folder_inside,
    running,
    temporary_database,
    wait_for,
)
from detection.management.commands._bench_models import activate_model_that_sees
from detection.management.commands._bench_overhead import SIZE, store_picture
from detection.models import Analysis
from workers.tasks import send_analysis

EVERY_S = 0.5
FLOOD = 30  # so many wait at any time
LANE = Analysis.Lane


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("--bulk", type=int, default=2000, help="so many pictures wait as bulk")
    parser.add_argument("--seconds", type=float, default=20, help="of each of the two parts")
    add_server_arguments(parser)


def bench_lanes(options: Mapping[str, Any], say: Say) -> None:
    """Pictures through one real worker process; those of bulk have aged, so that they get the turns they can get."""
    folder = folder_inside("lanes", options, say)
    if folder is None:
        return
    with temporary_database(folder) as url:
        activate_model_that_sees(1, folder / "model", SIZE)
        environment = {**os.environ, "DATABASE_URL": url, "BROKER_URL": "", "BULK_AGES_S": "0.001"}
        with running(folder, environment, ("analyse", "grab", "beat")) as processes:
            numbers = count()
            _ask(LANE.BULK, options["bulk"], numbers)
            wait_for("the first of bulk", lambda: _done(LANE.BULK), 60, processes)
            say(f"{options['bulk']} bulk pictures wait on {connection.vendor}, one worker process")
            _one_now_and_then(options["seconds"], numbers, processes, say)
            _flood(options["seconds"], numbers, processes, say)


def _one_now_and_then(seconds: float, numbers: Any, processes: Processes, say: Say) -> None:
    asked: list[int] = []
    bulk_before, began = _done(LANE.BULK), time.monotonic()
    while time.monotonic() - began < seconds:
        asked += _ask(LANE.INTERACTIVE, 1, numbers)
        time.sleep(EVERY_S)
        processes.check()
    bulk = _done(LANE.BULK) - bulk_before
    took_s = time.monotonic() - began
    rows = Analysis.objects.filter(pk__in=asked)
    wait_for("those who wait", lambda: not rows.filter(Analysis.UNFINISHED).exists(), 60, processes)
    waits = [(row.finished_at - row.requested_at).total_seconds() for row in rows if row.finished_at]
    say(
        f"one asked for every {EVERY_S:g} s: done after {median(waits):.2f} s (median), {max(waits):.2f} s at most; "
        f"meanwhile {bulk / took_s:.0f} of bulk a second"
    )


def _flood(seconds: float, numbers: Any, processes: Processes, say: Say) -> None:
    bulk_before, others_before, began = _done(LANE.BULK), _done(LANE.INTERACTIVE), time.monotonic()
    waiting = Analysis.objects.filter(Analysis.UNFINISHED, lane=LANE.INTERACTIVE)
    while time.monotonic() - began < seconds:
        _ask(LANE.INTERACTIVE, FLOOD - waiting.count(), numbers)
        time.sleep(0.1)
        processes.check()
    bulk, others = _done(LANE.BULK) - bulk_before, _done(LANE.INTERACTIVE) - others_before
    say(
        f"{FLOOD} wait at any time: {others} of theirs were done in {seconds:g} s, and {bulk} of bulk, "
        f"{bulk / max(1, bulk + others):.0%} of all"
    )


def _ask(lane: str, how_many: int, numbers: Any) -> list[int]:
    asked = []
    for _ in range(how_many):
        analysis = Analysis.request(store_picture(next(numbers)))
        Analysis.objects.filter(pk=analysis.pk).update(lane=lane)
        analysis.lane = lane
        send_analysis(analysis)
        asked.append(analysis.pk)
    return asked


def _done(lane: str) -> int:
    return Analysis.objects.filter(state=Analysis.State.DONE, lane=lane).count()
