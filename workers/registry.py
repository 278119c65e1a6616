"""Adding a model: checked, hashed, exported to the fastest runtime of this machine, measured; only then kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from detection.models import Model
from detection.vision import weights
from detection.vision.detector import load_detector
from detection.vision.types import DetectorError, Params
from detection.vision.weights import WeightsInfo

LABEL_MAX_LENGTH = 100  # as the sightings' column
Say = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Candidate:
    """Weights that were loaded, looked at a picture, and were measured."""

    info: WeightsInfo
    ms_per_image: float


def add_model(name_or_path: str, name: str | None, say: Say) -> Model:
    """Adds a model from a file or folder, or by name from the network.

    The same weights under the same name again lead to the model that is there. ``say`` is told each step. Raises
    DetectorError with a sentence, and nothing is kept, where the weights cannot be had, do not load, or the name is
    taken by others.
    """
    path = Path(name_or_path)
    with tempfile.TemporaryDirectory(prefix="nightjar-model-") as folder:
        work = Path(folder)
        source = str(path.name)
        if not path.exists():
            if path.name != name_or_path or path.suffix in (".onnx", ".engine", ".xml"):
                raise DetectorError(f"There is no file {path}.", permanent=True)
            source = f"{settings.WEIGHTS_URL}/{name_or_path.removesuffix('.pt')}.pt"
            path = download(name_or_path, work, say)
        original = weights.inspect(path)
        chosen_name = name or path.name.removesuffix(path.suffix).removesuffix("_openvino_model")
        known = _known(chosen_name, original)
        return known or _keep(chosen_name, source, original, _fastest(original, work, say))


def download(name: str, into: Path, say: Say) -> Path:
    """Fetches weights by their name, telling how much came so far. Raises DetectorError."""
    limit_s = settings.WEIGHTS_TIMEOUT_S
    say(f"Downloading {name} (at most {limit_s:g} s) ...")
    told = 0

    def tell(received: int) -> None:
        nonlocal told
        if received - told > 1_000_000:
            told = received
            say(f"  {received / 1e6:.0f} MB")

    return weights.fetch(name, into, base_url=settings.WEIGHTS_URL, timeout_s=limit_s, on_progress=tell)


def _known(name: str, original: WeightsInfo) -> Model | None:
    """The model of this name where it was made from the same weights. Raises DetectorError where from others."""
    there = Model.objects.filter(name=name).first()
    if there is None or original.sha256 in (there.sha256, there.original_sha256):
        return there
    raise DetectorError(f"There is another model called “{name}”: choose another name with --name.", permanent=True)


def _fastest(original: WeightsInfo, work: Path, say: Say) -> Candidate:
    """The weights as they are or, for a .pt, exported to OpenVINO: whichever looks at a picture in less time."""
    if original.runtime == "openvino" or original.files[0].suffix != ".pt":
        return _tried(original)
    ways: dict[str, Callable[[], WeightsInfo]] = {
        "Exporting to OpenVINO": lambda: weights.inspect(weights.export_openvino(original.files[0], work)),
        "Trying Ultralytics itself": lambda: original,
    }
    candidates, reasons = [], []
    for what, make in ways.items():
        say(f"{what} ...")
        try:
            candidates.append(_tried(make()))
        except DetectorError as error:
            reasons.append(str(error))
            say(f"  {error}")
    if not candidates:
        raise DetectorError("The model does not run on this machine. " + " ".join(reasons), permanent=True)
    for candidate in candidates:
        say(f"  {candidate.info.runtime}: {candidate.ms_per_image:.0f} ms an image")
    return min(candidates, key=lambda candidate: candidate.ms_per_image)


def _tried(info: WeightsInfo) -> Candidate:
    if too_long := [label for label in info.labels if len(label) > LABEL_MAX_LENGTH]:
        raise DetectorError(
            f"The label “{too_long[0][:40]}…” has more than {LABEL_MAX_LENGTH} letters.", permanent=True
        )
    path = info.files[0].parent if info.runtime == "openvino" else info.files[0]
    detector = load_detector(info.runtime, path, Params())
    weights.check(detector, info.labels)
    return Candidate(info, round(weights.measure(detector), 1))


def _keep(name: str, source: str, original: WeightsInfo, best: Candidate) -> Model:
    files = best.info.files
    return Model.keep(
        files[0].parent,
        [file.name for file in files],
        best.info.sha256,
        name=name,
        runtime=best.info.runtime,
        labels=list(best.info.labels),
        licence=original.licence,
        source=source[:300],
        original_sha256=original.sha256,
        ms_per_image=best.ms_per_image,
    )
