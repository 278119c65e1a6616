"""The undisturbed results: the same files through the product's own steps, in one process and a fresh database.

Run as a process of its own, whose environment is that of an installation: `python -m tests.chaos.reference FOLDER`.
The folder holds the list of the files; the results and the model's weights are left there.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import django

from tests.chaos.media import Sample, load

SAMPLES, RESULTS, WEIGHTS = "samples.json", "reference.json", "weights.txt"
MODEL = "yard"


def main(folder: Path) -> None:
    django.setup()
    from django.conf import settings
    from django.core.management import call_command
    from django.db import connection

    from detection.models import Analysis
    from detection.models.export import exported
    from detection.vision.weights import YARD
    from tests.chaos.check import comparable
    from workers.registry import add_model
    from workers.steps import run_here

    settings.DATA_DIR.mkdir(parents=True)
    call_command("migrate", interactive=False, verbosity=0)
    model = add_model(str(YARD), MODEL, lambda _: None)
    model.activate()
    _write(folder / WEIGHTS, str(model.local_weights()))
    samples = [sample for sample in load(folder / SAMPLES) if not sample.spoils_analysis]

    def take(sample: Sample) -> Analysis:
        try:
            return _taken_in(sample)
        finally:
            connection.close()

    results: dict[str, str] = {}
    with ThreadPoolExecutor(2) as pool:  # each file is probed by a process of its own
        for sample, analysis in zip(samples, pool.map(take, samples), strict=True):
            run_here(analysis)
            analysis.refresh_from_db()
            if analysis.state != Analysis.State.DONE:
                raise SystemExit(f"{sample.name} cannot be analysed even undisturbed: {analysis.error}")
            results[sample.sha256] = comparable(exported(analysis))
    _write(folder / RESULTS, json.dumps(results))


def _write(path: Path, text: str) -> None:
    """All at once: somebody waits for it."""
    part = path.with_suffix(".part")
    part.write_text(text)
    part.rename(path)


def _taken_in(sample: Sample) -> "Analysis":  # noqa: F821, UP037 (Django is not set up when this module is read)
    from django.core.files.base import File

    from detection.models.intake import take_in

    with Path(sample.path).open("rb") as file:
        intake = take_in(File(file, name=sample.name), Path(sample.path), sample.sha256, sample.name)
    assert intake.analysis is not None, f"{sample.name} is there twice"
    return intake.analysis


if __name__ == "__main__":
    main(Path(sys.argv[1]))
