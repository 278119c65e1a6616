"""What a fresh installation gets: a general model where the network allows, and an example to look at.

Both are done once, harmless to repeat, and never keep the system from starting.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any, Protocol

from django.core.files.base import File

from detection.models import Analysis, Model
from detection.models.intake import sha256_of, take_in
from detection.vision.types import DetectorError
from workers.registry import add_model

log = logging.getLogger(__name__)

GENERAL_MODEL = "yolo26n"
EXAMPLE_MODEL = "yard"
EXAMPLE_NAME = "Example: a yard (drawn).mp4"
EXAMPLE_SEED = 21


class Out(Protocol):
    """Where lines for the person at the terminal go."""

    def write(self, text: str, /) -> Any: ...


def fetch_general_model(out: Out) -> None:
    """Gets and activates a general model; where that cannot be, motion stays active and a line says how to add one."""
    if Model.objects.exclude(runtime=Model.Runtime.MOTION).exists():
        return
    try:
        model = add_model(GENERAL_MODEL, None, out.write)
    except DetectorError as error:
        out.write(
            f"{error}\n"
            "Until there is a model, motion is active: it finds what moves and cannot say what it is. Add one with\n"
            "    .venv/bin/python manage.py models add PATH|NAME --activate\n"
        )
        return
    model.activate()
    out.write(f"{model.name} is active: {len(model.labels)} labels, {model.ms_per_image:.0f} ms an image.")


def store_example(out: Out) -> None:
    """Draws a short clip, and stores it with the small trained model's analysis, as an example that says what it is."""
    if Model.objects.filter(name=EXAMPLE_MODEL).exists():
        return  # it was stored on the first start, and may have been removed since
    out.write("Drawing an example clip and analysing it ...")
    try:
        analysis = _draw_and_analyse()
    except Exception:
        log.exception("the example could not be made; everything else works without it")
        out.write("The example could not be made; everything else works without it. The log says why.")
        return
    if analysis is not None:
        out.write(f"The example has {analysis.sightings.count()} sightings.")


def _draw_and_analyse() -> Analysis | None:
    from detection.vision.draw import draw_scene, write_clip
    from detection.vision.weights import YARD
    from workers.steps import run_here

    model = add_model(str(YARD), EXAMPLE_MODEL, log.debug)
    with tempfile.TemporaryDirectory(prefix="nightjar-example-") as folder:
        path = Path(folder) / "yard.mp4"
        write_clip(path, draw_scene(EXAMPLE_SEED, seconds=12.0), fps=10)
        with path.open("rb") as file:
            taken = take_in(
                File(file, name=path.name), path, sha256_of(path), EXAMPLE_NAME, model=model, is_example=True
            )
    if taken.analysis is not None:
        run_here(taken.analysis)
    return taken.analysis
