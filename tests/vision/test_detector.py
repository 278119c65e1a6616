"""The registry of detectors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detection.vision.detector import RUNTIMES, load_detector
from detection.vision.types import DetectorError, Params


def test_an_unknown_detector_is_refused_with_those_there_are():
    with pytest.raises(DetectorError, match="openvino, ultralytics, motion") as refusal:
        load_detector("magic", None, Params())
    assert refusal.value.permanent


def test_every_registered_detector_can_be_imported_and_refuses_or_loads_without_weights():
    for runtime in RUNTIMES:
        if runtime == "motion":
            assert load_detector(runtime, None, Params()).batch > 1
        else:
            with pytest.raises(DetectorError):
                load_detector(runtime, None, Params())


def test_knowing_the_detectors_loads_no_heavy_library():
    script = (
        "import sys, detection.vision.detector, detection.vision.weights\n"
        "print(sorted({'torch', 'ultralytics', 'openvino', 'cv2', 'av'} & set(sys.modules)))"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
