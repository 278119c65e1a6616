"""Analyses files without a broker and prints what was seen."""

from __future__ import annotations

import json
import sys
import time
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from detection.models import Model
from detection.models.intake import probe_file, sha256_of
from detection.vision import pipeline
from detection.vision.detector import Detector, load_detector
from detection.vision.frames import plan_spans
from detection.vision.types import DetectorError, DetectStats, MediaError, MediaInfo, Params, Span, Track
from detection.vision.weights import inspect


class Command(BaseCommand):
    help = (
        "Analyse images and clips (or whole folders of them) and print what was seen. Nothing is stored; "
        "exit code 1 where a file could not be analysed."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an image, a clip, or a folder of them")
        parser.add_argument("--json", action="store_true", help="one JSON object a line, one line a file")
        parser.add_argument("--model", metavar="NAME|PATH", help="default: the active model")
        parser.add_argument("--fps", type=float, default=settings.ANALYSE_FPS, help="frames looked at a second")

    def handle(self, *, paths: list[Path], model: str | None, fps: float, **options: Any) -> None:
        if not 0 < fps <= 1000:
            raise CommandError("--fps must be more than 0 and at most 1000.")
        params = Params(fps=fps)
        found = [path for given in paths for path in _files(given)]
        try:
            facts, detector = _load(model, params)
        except DetectorError as error:
            raise CommandError(str(error)) from None
        failed = 0
        for path in found:
            result = analyse(path, facts, detector, params)
            failed += result["analysis"]["state"] == "failed"
            if options["json"]:
                self.stdout.write(json.dumps(result))
            else:
                self._tell(path, result)
        if detector.needs_motion and not options["json"]:
            self.stderr.write("Only motion was looked for. Add a model with labels: manage.py models add PATH|NAME")
        if failed:
            sys.exit(1)

    def _tell(self, path: Path, result: dict[str, Any]) -> None:
        analysis, sightings = result["analysis"], result["sightings"]
        if analysis["state"] == "failed":
            self.stderr.write(f"{path}: {analysis['error']}")
            return
        what = f"{len(sightings)} sightings" if sightings else "nothing found"
        looked = f"{analysis['frames_inferred']} of {analysis['frames_read']} frames looked at"
        self.stdout.write(f"{path}: {what} ({analysis['model']}, {looked}, {analysis['wall_s']:.1f} s)")
        for seen in sightings:
            when = "" if result["media"]["kind"] == "image" else f"{seen['start_s']:9.2f} to {seen['end_s']:.2f} s  "
            self.stdout.write(f"  {when}{seen['label']}  {seen['score']:.2f}")


def analyse(path: Path, model: dict[str, Any], detector: Detector, params: Params) -> dict[str, Any]:
    """One file's result as the command prints it; a file that could not be analysed has its sentence in ``error``."""
    began = time.perf_counter()
    media: dict[str, Any] = {"path": str(path), "sha256": None}
    analysis: dict[str, Any] = {"id": None, "state": "done", **model, "params": asdict(params)}
    tracks: list[Track] = []
    try:
        media["sha256"] = sha256_of(path)
        info = probe_file(path)
        media |= {"kind": info.kind, "width": info.width, "height": info.height, "duration_s": info.duration_s}
        tracks, stats = _look(path, info, detector, params)
        analysis |= {name: getattr(stats, name) for name in ("frames_read", "frames_sampled", "frames_inferred")}
    except (MediaError, DetectorError) as error:
        analysis |= {"state": "failed", "error": str(error)}
    except (OSError, RuntimeError) as error:
        analysis |= {"state": "failed", "error": f"This file could not be read: {str(error).partition(chr(10))[0]}"}
    analysis["wall_s"] = round(time.perf_counter() - began, 3)
    return {"media": media, "analysis": analysis, "sightings": [_sighting(n, t) for n, t in enumerate(tracks, start=1)]}


def _look(path: Path, info: MediaInfo, detector: Detector, params: Params) -> tuple[list[Track], DetectStats]:
    spans = [Span(0, 0.0, 0.0, 1)] if info.kind == "image" else plan_spans(path, params.chunk_s)
    parts = [pipeline.detect(path, info.kind, span, detector, params) for span in spans]
    frames = [frame for found, _ in parts for frame in found]
    stats = [stats for _, stats in parts]
    total = DetectStats(
        frames_read=sum(part.frames_read for part in stats),
        frames_sampled=sum(part.frames_sampled for part in stats),
        frames_inferred=sum(part.frames_inferred for part in stats),
        decode_s=sum(part.decode_s for part in stats),
        infer_s=sum(part.infer_s for part in stats),
    )
    pipeline.require_readable(sum(span.frames for span in spans), total.frames_read)
    return pipeline.track(info.kind, frames, params), total


def _sighting(number: int, track: Track) -> dict[str, Any]:
    return {
        "id": number,
        "label": track.label,
        "score": round(track.score, 4),
        "start_s": track.points[0].time_s,
        "end_s": track.points[-1].time_s,
        "path": [[p.time_s, p.x1, p.y1, p.x2, p.y2, p.score] for p in track.points],
    }


def _load(name_or_path: str | None, params: Params) -> tuple[dict[str, Any], Detector]:
    """What the result says of the model, and its detector."""
    if name_or_path is None or Model.objects.filter(name=name_or_path).exists():
        model = Model.objects.get(name=name_or_path) if name_or_path else Model.active()
        facts = {"model": model.name, "model_sha256": model.sha256 or None}
        return facts, load_detector(model.runtime, model.local_weights(), params)
    path = Path(name_or_path)
    if not path.exists():
        known = ", ".join(Model.objects.values_list("name", flat=True))
        raise CommandError(f"There is no model “{name_or_path}” and no such file; there are {known}.")
    found = inspect(path)
    weights = found.files[0].parent if found.runtime == "openvino" else found.files[0]
    return {"model": path.name, "model_sha256": found.sha256}, load_detector(found.runtime, weights, params)


def _files(path: Path) -> list[Path]:
    """The file, or all files in the folder and below. Raises CommandError where there is none."""
    found = sorted(one for one in path.rglob("*") if one.is_file()) if path.is_dir() else [path] * path.exists()
    if not found:
        raise CommandError(f"There is no file {'in ' if path.is_dir() else ''}{path}.")
    return found
