"""Prints the project's figures, each as it comes out of one run on this machine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from detection.management.commands import (
    _bench_cameras,
    _bench_lanes,
    _bench_lists,
    _bench_memory,
    _bench_outage,
    _bench_overhead,
    _bench_sweep,
    _bench_uploads,
)
from detection.management.commands._bench_farm import Say, children, resident_mb
from detection.management.commands.analyse import analyse
from detection.models.intake import probe_file
from detection.vision.detector import load_detector
from detection.vision.frames import read_frames
from detection.vision.types import Params
from detection.vision.weights import inspect, measure

ROOT = settings.BASE_DIR


def _add_data(parser: ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, default=os.environ.get("NIGHTJAR_DATA") or ROOT / "../shared/data")


def _clips(options: Mapping[str, Any], say: Say) -> None:
    data = Path(options["data"])
    references = sorted(data.glob("reference/*.tracks.json"))
    if not references:
        raise CommandError(f"There are no references in {data}/reference: set NIGHTJAR_DATA or --data.")
    weights = next(data.glob("models/*_openvino_model"))
    detector = load_detector("openvino", weights, Params())
    facts = {"model": weights.name, "model_sha256": inspect(weights).sha256}
    for reference in references:
        clip = data / "clips" / f"{reference.name.removesuffix('.tracks.json')}.mp4"
        decode_s = _decode_s(clip)
        model_ms = measure(detector, _size(clip))
        result = analyse(clip, facts, detector, Params())
        say(f"{clip.name}: {_score(data, reference, result)}")
        say(f"  {_ratios(result['analysis'], decode_s, model_ms)}")


def _web(_options: Mapping[str, Any], say: Say) -> None:
    from detection.management.commands._browse import browse_everything

    with tempfile.TemporaryDirectory(prefix="nightjar-bench-") as folder:
        log = Path(folder) / "web.log"
        socket = f"{folder}/web.sock"
        command = [sys.executable, "-m", "gunicorn", "project.wsgi", "--bind", f"unix:{socket}", "--preload"]
        command += ["--worker-class", "gthread", "--threads", "8", "--no-control-socket"]
        with log.open("wb") as output:
            web = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
        try:
            pages = browse_everything(socket)
            for pid in [web.pid, *children(web.pid)]:
                role = "main process" if pid == web.pid else "worker"
                say(f"{role}: {resident_mb(pid):.0f} MB resident after {pages} pages")
                heavy = [name for name in ("torch", "openvino", "ultralytics") if f"/{name}/" in _maps(pid)]
                say(f"  heavy libraries loaded: {', '.join(heavy) or 'none'}")
        finally:
            web.terminate()
            web.wait(timeout=30)


def _start(_options: Mapping[str, Any], say: Say) -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="nightjar-bench-") as folder:
        for name in files.decode().split("\0")[:-1]:
            target = Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        for what in ("first start", "second start"):
            say(f"{what}: {_seconds_to_first_page(Path(folder)):.1f} s to the first page")


def _decode_s(clip: Path) -> float:
    began = time.perf_counter()
    for _ in read_frames(clip, None, 0.001):
        pass
    return time.perf_counter() - began


def _ratios(analysis: dict[str, Any], decode_s: float, model_ms: float) -> str:
    """How long an analysis took beside what it cannot do without: decoding, and the model."""
    wall_s, read, inferred = analysis["wall_s"], analysis["frames_read"], analysis["frames_inferred"]
    return (
        f"{read} frames in {wall_s:.1f} s, {read / wall_s:.0f} frames/s; "
        f"{wall_s / decode_s:.1f} times as long as decoding alone ({read / decode_s:.0f} frames/s); "
        f"{wall_s * 1000 / (inferred * model_ms):.1f} times as long as the model alone, "
        f"which looked at {inferred} of {analysis['frames_sampled']} sampled frames ({1000 / model_ms:.0f} images/s)"
    )


def _size(clip: Path) -> tuple[int, int]:
    info = probe_file(clip)
    return info.width, info.height


def _score(data: Path, reference: Path, result: dict[str, Any]) -> str:
    scorer = data.resolve().parent / "tools" / "score_tracks.py"
    if not scorer.exists():
        raise CommandError(f"The scorer {scorer} is not there; it comes with the reference data.")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(result, file)
        file.flush()
        command = [sys.executable, str(scorer), str(reference), file.name]
        return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def _maps(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def _seconds_to_first_page(folder: Path) -> float:
    ours = {"VIRTUAL_ENV", "DATA_DIR", "DATABASE_URL", "BROKER_URL", "STORAGE_URL", "SECRET_KEY", "NIGHTJAR_ENV_FILE"}
    environment = {name: value for name, value in os.environ.items() if name not in ours} | {"PORT": "8765"}
    began = time.perf_counter()
    with (folder / "start.log").open("wb") as log:
        make = subprocess.Popen(
            ["make", "run"], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while True:
            try:
                urlopen("http://127.0.0.1:8765/login/", timeout=5).close()
                return time.perf_counter() - began
            except (URLError, OSError):
                if make.poll() is not None:
                    tail = (folder / "start.log").read_text().strip().splitlines()[-1]
                    raise CommandError(f"make run ended: {tail}") from None
                time.sleep(0.2)
    finally:
        os.killpg(make.pid, signal.SIGINT)
        make.wait(timeout=60)


@dataclass(frozen=True, slots=True)
class Bench:
    """What can be measured, as `manage.py bench` lists it."""

    help: str
    run: Callable[[Mapping[str, Any], Say], None]
    add_arguments: Callable[[ArgumentParser], None] | None = None


BENCHES = {
    "clips": Bench("score the reference clips, and time analysis against decoding alone", _clips, _add_data),
    "web": Bench("the web process' memory after browsing all pages of this installation", _web),
    "start": Bench("seconds from a fresh copy of the code to the first page", _start),
    "cameras": Bench(
        "how punctual captures of many cameras are", _bench_cameras.bench_cameras, _bench_cameras.add_arguments
    ),
    "sweep": Bench("what planning costs with very many cameras", _bench_sweep.bench_sweep, _bench_sweep.add_arguments),
    "overhead": Bench(
        "what rows and messages cost for a picture", _bench_overhead.bench_overhead, _bench_overhead.add_arguments
    ),
    "lanes": Bench(
        "how long somebody waits while bulk is worked on", _bench_lanes.bench_lanes, _bench_lanes.add_arguments
    ),
    "lists": Bench(
        "the list of sightings with many rows and many who ask", _bench_lists.bench_lists, _bench_lists.add_arguments
    ),
    "uploads": Bench(
        "the web process' memory under many large uploads", _bench_uploads.bench_uploads, _bench_uploads.add_arguments
    ),
    "outage": Bench(
        "what becomes of uploads while the broker is away", _bench_outage.bench_outage, _bench_outage.add_arguments
    ),
    "memory": Bench(
        "what a very long clip takes beside a short one", _bench_memory.bench_memory, _bench_memory.add_arguments
    ),
}


class Command(BaseCommand):
    help = f"Measure on this machine: {', '.join(BENCHES)}."

    def add_arguments(self, parser: ArgumentParser) -> None:
        benches = parser.add_subparsers(dest="bench", required=True, metavar="|".join(BENCHES))
        for name, bench in BENCHES.items():
            arguments = benches.add_parser(name, help=bench.help)
            if bench.add_arguments:
                bench.add_arguments(arguments)

    def handle(self, *, bench: str, **options: Any) -> None:
        BENCHES[bench].run(options, self.stdout.write)
