"""Weights as files: what they are, where they come from, what they are turned into, and how fast they run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from detection.vision.detector import Detector
from detection.vision.types import DetectorError, Image
from detection.vision.ultralytics import TASKS_WITH_BOXES, quiet_ultralytics, read_metadata

Runtime: TypeAlias = Literal["openvino", "ultralytics"]

RELEASE_URL = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*")
UNKNOWN_LICENCE = "unknown"
YARD = Path(__file__).parent / "trained" / "yard.pt"
"""The small model of the demo, which comes with the code; its card is ``yard.md`` beside it."""


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """What weights say of themselves."""

    runtime: Runtime
    labels: tuple[str, ...]
    sha256: str
    licence: str
    files: tuple[Path, ...]  # all that belong to the weights, sorted by name
    input_size: tuple[int, int] | None  # height and width in pixels, where the weights say it


def inspect(path: Path) -> WeightsInfo:
    """Read labels, licence, input size and hash of a .pt, .onnx or .engine file, or an OpenVINO folder or its .xml.

    A .pt is a pickle and runs what its maker put in when it is read: only for files from somebody trusted. Raises
    DetectorError (permanent) with a sentence where the file is missing, of no known kind, damaged or without labels.
    """
    if path.is_dir() or path.suffix == ".xml":
        files = _openvino_files(path)
        facts, runtime = read_metadata(next(file for file in files if file.name == "metadata.yaml")), "openvino"
    else:
        if not path.is_file():
            raise DetectorError(f"There is no file {path.name}.", permanent=True)
        readers = {".pt": _read_pt, ".onnx": _read_onnx, ".engine": _read_engine}
        if path.suffix not in readers:
            raise DetectorError(
                f"{path.name} is not a kind of weights known here: .pt, .onnx, .engine, or an OpenVINO folder.",
                permanent=True,
            )
        files, facts, runtime = (path,), readers[path.suffix](path), "ultralytics"
    task = facts.get("task") or "detect"
    if task not in (TASKS_WITH_BOXES if runtime == "ultralytics" else {"detect"}):
        raise DetectorError(
            f"{path.name} is a model for “{task}”; only models for detection can be used.", permanent=True
        )
    return WeightsInfo(
        runtime="openvino" if runtime == "openvino" else "ultralytics",
        labels=_labels(facts, path.name),
        sha256=sha256(files),
        # Ultralytics writes a sentence with its address; what counts is the name before it.
        licence=str(facts.get("license") or UNKNOWN_LICENCE).partition(" License")[0],
        files=files,
        input_size=_input_size(facts.get("imgsz")),
    )


def sha256(files: Sequence[Path]) -> str:
    """The hash of weights: of a single file its SHA-256; of several, the SHA-256 over ``name, NUL, SHA-256 in hex,
    newline`` of each, sorted by name."""
    digests = []
    for file in sorted(files, key=lambda file: file.name):
        with file.open("rb") as stream:
            digests.append((file.name, hashlib.file_digest(stream, "sha256").hexdigest()))
    if len(digests) == 1:
        return digests[0][1]
    return hashlib.sha256("".join(f"{name}\0{digest}\n" for name, digest in digests).encode()).hexdigest()


def _openvino_files(path: Path) -> tuple[Path, ...]:
    folder = path if path.is_dir() else path.parent
    graphs = sorted(folder.glob("*.xml")) if path.is_dir() else [path]
    if len(graphs) != 1:
        raise DetectorError(f"{folder.name} has {len(graphs)} .xml files; an OpenVINO model has one.", permanent=True)
    files = sorted([graphs[0], graphs[0].with_suffix(".bin"), folder / "metadata.yaml"], key=lambda file: file.name)
    for file in files:
        if not file.is_file():
            raise DetectorError(f"The OpenVINO model {folder.name} lacks its {file.name}.", permanent=True)
    return tuple(files)


def _read_pt(path: Path) -> dict[str, Any]:
    quiet_ultralytics()
    try:
        from ultralytics.nn.tasks import torch_safe_load

        checkpoint, _ = torch_safe_load(str(path))
        model = checkpoint.get("ema") or checkpoint["model"]
        args = checkpoint.get("train_args") or {}
        names, task = model.names, checkpoint.get("task") or getattr(model, "task", None) or args.get("task")
    except Exception as error:
        # Unpickling runs through most of torch: whatever it raises, the file did not load.
        raise DetectorError(f"{path.name} holds no weights that Ultralytics can read.", permanent=True) from error
    return {"names": names, "task": task, "license": checkpoint.get("license"), "imgsz": args.get("imgsz")}


def _read_engine(path: Path) -> dict[str, Any]:
    """TensorRT engines of Ultralytics begin with the length of their JSON metadata, four bytes, little end first."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(4), "little")
        try:
            facts = json.loads(stream.read(length)) if 0 < length < 1_000_000 else None
        except ValueError:
            facts = None
    if not isinstance(facts, dict):
        raise DetectorError(
            f"{path.name} is no engine that Ultralytics exported: it does not name its labels.", permanent=True
        )
    return facts


def _read_onnx(path: Path) -> dict[str, Any]:
    """The metadata of an ONNX file: field 14 of its ModelProto (onnx.proto), pairs of a key and a text."""
    import ast

    facts: dict[str, Any] = {}
    try:
        for number, value in _fields(path.read_bytes()):
            if number == 14 and isinstance(value, bytes):
                pair = dict(_fields(value))
                facts[bytes(pair[1]).decode()] = bytes(pair.get(2, b"")).decode()
        for key in ("names", "imgsz"):
            facts[key] = ast.literal_eval(facts[key])
    except (IndexError, KeyError, ValueError, SyntaxError, TypeError) as error:
        raise DetectorError(
            f"{path.name} is no ONNX model that names its labels, as Ultralytics exports them.", permanent=True
        ) from error
    return facts


def _fields(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a protobuf message (protobuf.dev/programming-guides/encoding): number, and bytes or an integer."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        wire = tag & 7
        if wire == 0:
            yield tag >> 3, varint()
            continue
        if wire not in (1, 2, 5):
            raise ValueError("not a protobuf message")
        length = varint() if wire == 2 else (8 if wire == 1 else 4)
        if at + length > len(data):
            raise ValueError("a protobuf message that ends too early")
        yield tag >> 3, data[at : at + length]
        at += length


def _labels(facts: dict[str, Any], name: str) -> tuple[str, ...]:
    names = facts.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise DetectorError(f"{name} does not name its labels.", permanent=True)
    return tuple(str(label) for _, label in sorted((int(number), label) for number, label in names.items()))


def _input_size(value: Any) -> tuple[int, int] | None:
    if isinstance(value, int):
        return value, value
    if isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(side, int) for side in value):
        return value[0], value[1]
    return None


# The download runs in a process of its own: Ultralytics bounds the wait for each byte, not for all of them.
_DOWNLOAD = """
import json, pathlib, sys
from ultralytics.utils.downloads import safe_download
pathlib.Path(sys.argv[3], "ready").touch()
try:
    safe_download(sys.argv[1], file=sys.argv[2], dir=sys.argv[3], unzip=False, retry=0, progress=False)
except Exception as error:
    cause = error.__cause__ or error
    status = getattr(getattr(cause, "response", None), "status_code", None)
    print(json.dumps({"status": status, "kind": type(cause).__name__, "error": str(cause)}))
    sys.exit(1)
"""
_LOAD_S = 60.0  # what importing Ultralytics may take on a busy machine; seconds as a rule
_PASSED_ON = ("PATH", "HOME", "LANG", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "SYSTEMROOT")


def fetch(
    name: str,
    into: Path,
    base_url: str = RELEASE_URL,
    timeout_s: float = 20.0,
    on_progress: Callable[[int], None] | None = None,
) -> Path:
    """Download ``{base_url}/{name}.pt`` with Ultralytics' own download into ``into``, and say where it lies.

    ``timeout_s`` bounds the whole download; loading Ultralytics before it (seconds, a minute at most) does not count,
    so that a busy machine does not look like a slow network. ``on_progress`` is told the bytes so far, about four times
    a second. Raises DetectorError: permanent where there is no such model, else not. Nothing half-written stays behind.
    """
    name = name.removesuffix(".pt")
    if not NAME.fullmatch(name):
        raise DetectorError(f"“{name}” is no name of a model; names look like yolo26n.", permanent=True)
    into.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".fetch-", dir=into))
    try:
        _download(f"{base_url.rstrip('/')}/{name}.pt", name, part, timeout_s, on_progress)
        file = part / f"{name}.pt"
        # A .pt is a zip; a proxy's or a portal's page is not.
        if not file.is_file() or file.read_bytes()[:2] != b"PK":
            raise DetectorError(
                f"What came for {name} is no weights file; is there a login page in between?", permanent=False
            )
        return file.replace(into / file.name)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _download(url: str, name: str, part: Path, timeout_s: float, on_progress: Callable[[int], None] | None) -> None:
    passed = {key: os.environ[key] for key in os.environ if key in _PASSED_ON or key.lower().endswith("_proxy")}
    settings = {
        "YOLO_CONFIG_DIR": str(part),
        "YOLO_OFFLINE": "true",
        "YOLO_VERBOSE": "false",
        "YOLO_AUTOINSTALL": "false",
    }
    command = [sys.executable, "-c", _DOWNLOAD, url, f"{name}.pt", str(part)]
    child = subprocess.Popen(
        command, env=passed | settings, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=part
    )
    ready, deadline, done = False, time.monotonic() + _LOAD_S, 0
    try:
        while True:
            try:
                out, _ = child.communicate(timeout=min(0.25, max(0.01, deadline - time.monotonic())))
                break
            except subprocess.TimeoutExpired:
                if not ready and (part / "ready").exists():
                    ready, deadline = True, time.monotonic() + timeout_s
                if time.monotonic() >= deadline:
                    raise DetectorError(
                        f"{name} did not arrive within {timeout_s:g} s. Try again, or add the file by its path.",
                        permanent=False,
                    ) from None
                # It comes as a hidden .part file and gets its name when whole.
                done = max([done, *(file.stat().st_size for file in part.glob(f"*{name}.pt*"))])
                if on_progress:
                    on_progress(done)
    finally:
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()
    if child.returncode:
        raise _refused(name, out)


def _refused(name: str, out: bytes) -> DetectorError:
    """Why the download failed, in words."""
    try:
        answer = json.loads(out.decode(errors="replace").strip().splitlines()[-1])
    except (ValueError, IndexError):
        return DetectorError(
            f"The download of {name} broke off. Try again, or add the file by its path.", permanent=False
        )
    status = answer["status"]
    if status in (404, 410):
        return DetectorError(f"There is no model {name} to download; names look like yolo26n.", permanent=True)
    if status is not None:
        return DetectorError(f"The server refused {name} (HTTP {status}). Try again later.", permanent=False)
    if "Retry limit" in answer["error"]:
        return DetectorError(f"{name} came incomplete. Try again, or add the file by its path.", permanent=False)
    return DetectorError(
        f"{name} could not be downloaded: the server cannot be reached. Add a file by its path instead.",
        permanent=False,
    )


def export_openvino(weights: Path, into: Path) -> Path:
    """Export a .pt to OpenVINO (float32, one picture at a time, NMS-free where the model can); the folder made.

    The folder is ``into / "{stem}_openvino_model"`` and replaces one of that name. Takes seconds to a minute and
    imports torch. Raises DetectorError where the export fails.
    """
    quiet_ultralytics()
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=into) as scratch:
        copy = Path(scratch) / weights.name
        try:
            shutil.copyfile(weights, copy)
            from ultralytics.models import YOLO

            from detection.vision.ultralytics import has_nms_free_head

            model = YOLO(str(copy))
            made = Path(model.export(format="openvino", nms=False if has_nms_free_head(model) else None, verbose=False))
        except Exception as error:
            # An export runs through torch, Ultralytics and OpenVINO: whatever they raise, there is no export.
            raise DetectorError(f"{weights.name} could not be exported to OpenVINO: {error}", permanent=True) from error
        target = into / f"{weights.stem}_openvino_model"
        if target.exists():
            shutil.rmtree(target)
        return made.rename(target)


def probe_image(width: int = 640, height: int = 480) -> Image:
    """A picture with slopes, edges and grain that needs no file: the same at every call. Height x width x 3, RGB."""
    y, x = np.mgrid[0:height, 0:width]
    grain = np.random.default_rng(0).integers(0, 24, (height, width))
    blocks = ((x // 40 + y // 40) % 2) * 60
    return np.stack([x * 170 // width + blocks, y * 170 // height + grain, 120 + grain + blocks], axis=2).astype(
        np.uint8
    )


def check(detector: Detector, labels: Sequence[str] | None = None) -> None:
    """Let a detector look at two pictures and see that what it answers makes sense.

    ``labels`` are those it should have. Raises DetectorError (permanent) where it answers nonsense, and what the
    detector itself raises where it cannot look.
    """
    if not detector.labels or (labels is not None and tuple(labels) != tuple(detector.labels)):
        raise DetectorError("The model has other labels than its file says.", permanent=True)
    images = [probe_image(), probe_image(320, 500)]
    detector.reset()
    found = detector.detect(images)
    detector.reset()
    if len(found) != len(images):
        raise DetectorError(f"The model answered {len(found)} of {len(images)} pictures.", permanent=True)
    for image, detections in zip(images, found, strict=True):
        height, width = image.shape[:2]
        for d in detections:
            # A box may reach over the edge by a rounding; NaN fails every comparison and so is caught here.
            sound = -1 <= d.x1 <= d.x2 <= width + 1 and -1 <= d.y1 <= d.y2 <= height + 1 and 0 <= d.score <= 1
            if not sound or d.label not in detector.labels:
                raise DetectorError(
                    "The model's answer to a test picture makes no sense; is it one for detection?", permanent=True
                )


def measure(detector: Detector, size: tuple[int, int] = (1280, 720), seconds: float = 1.0) -> float:
    """Milliseconds for a picture of ``size`` (width, height), in batches as the detector likes them: the median."""
    images = [probe_image(*size)] * max(1, detector.batch)
    detector.detect(images)
    took: list[float] = []
    while sum(took) < seconds or len(took) < 3:
        started = time.perf_counter()
        detector.detect(images)
        took.append(time.perf_counter() - started)
    detector.reset()
    return statistics.median(took) * 1000 / len(images)
