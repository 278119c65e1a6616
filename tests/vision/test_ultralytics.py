"""The Ultralytics detector with the small model that comes with the code, on scenes whose truth is known."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from detection.vision.detector import load_detector
from detection.vision.draw import LABELS, draw_scene
from detection.vision.frames import read_image
from detection.vision.types import DetectorError, MediaError, Params
from detection.vision.ultralytics import UltralyticsDetector
from detection.vision.weights import YARD
from tests.vision.scoring import recall_precision


@pytest.fixture(scope="module")
def detector() -> UltralyticsDetector:
    return UltralyticsDetector(YARD, Params(min_score=0.4))


def test_the_small_model_finds_what_the_truth_says(detector: UltralyticsDetector):
    found, truth = [], []
    for seed in range(900, 910):
        frames = list(draw_scene(seed, 640, 360, 9, 1 / 3))
        found += detector.detect([image for image, _ in frames])
        truth += [objects for _, objects in frames]
    recall, precision = recall_precision(found, truth)
    assert sum(len(objects) for objects in truth) > 100
    assert recall > 0.8
    assert precision > 0.8


def test_a_damaged_image_is_refused_with_its_sentence_after_ultralytics_was_loaded(
    detector: UltralyticsDetector, tmp_path: Path
):
    """Ultralytics replaces Pillow's opening of files by one that looks for a plugin, and fails for want of it."""
    damaged = tmp_path / "gate.jpg"
    damaged.write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(MediaError):
        read_image(damaged)


def test_it_knows_its_labels_and_needs_no_motion(detector: UltralyticsDetector):
    assert detector.labels == LABELS
    assert not detector.needs_motion
    assert detector.nms_free
    assert detector.batch >= 1
    detector.reset()


def test_answers_are_sorted_inside_the_picture_and_above_the_threshold(detector: UltralyticsDetector):
    for image, _ in draw_scene(901, 640, 360, 9, 0.5):
        (boxes,) = detector.detect([image])
        assert [box.score for box in boxes] == sorted((box.score for box in boxes), reverse=True)
        for box in boxes:
            assert 0 <= box.x1 < box.x2 <= 640
            assert 0 <= box.y1 < box.y2 <= 360
            assert 0.4 <= box.score <= 1
    assert UltralyticsDetector(YARD, Params(min_score=0.999)).detect([image]) == [[]]


def test_the_answer_to_a_picture_does_not_depend_on_its_neighbours(detector: UltralyticsDetector):
    wide = [image for image, _ in draw_scene(902, 640, 360, 8, 0.25)]
    tall = [image for image, _ in draw_scene(903, 360, 480, 8, 0.25)]
    mixed = detector.detect([wide[0], tall[0], tall[1], wide[1]])
    alone = [detector.detect([image])[0] for image in (wide[0], tall[0], tall[1], wide[1])]
    for one, other in zip(mixed, alone, strict=True):
        assert [box.label for box in one] == [box.label for box in other]
        for box, again in zip(one, other, strict=True):
            assert abs(box.x1 - again.x1) + abs(box.y2 - again.y2) < 0.2
            assert box.score == pytest.approx(again.score, abs=0.002)
    assert detector.detect([]) == []


def test_ultralytics_is_given_blue_first_as_it_expects(monkeypatch: pytest.MonkeyPatch):
    detector = UltralyticsDetector(YARD, Params())
    given: list[np.ndarray] = []
    predict = detector.model.predict

    def watched(images, **settings):
        given.extend(images)
        return predict(images, **settings)

    monkeypatch.setattr(detector.model, "predict", watched)
    red = np.zeros((64, 96, 3), np.uint8)
    red[..., 0] = 200
    detector.detect([red])
    assert given[0][0, 0].tolist() == [0, 0, 200]
    assert red[0, 0].tolist() == [200, 0, 0], "the caller's picture is left alone"


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut short"])
def test_weights_that_do_not_load_are_refused_for_good(tmp_path: Path, content: bytes):
    bad = tmp_path / "bad.pt"
    bad.write_bytes(content)
    with pytest.raises(DetectorError, match=r"bad\.pt could not be loaded") as refusal:
        load_detector("ultralytics", bad, Params())
    assert refusal.value.permanent


@pytest.mark.parametrize("weights", [None, Path("absent.pt")])
def test_missing_weights_are_refused(weights: Path | None):
    with pytest.raises(DetectorError, match="There is no weights file"):
        UltralyticsDetector(weights, Params())


def test_a_model_without_boxes_is_refused(monkeypatch: pytest.MonkeyPatch):
    import ultralytics.models

    class Classifier:
        task = "classify"
        names = {0: "cat"}

        def __init__(self, path: str, task: str | None) -> None:
            pass

    monkeypatch.setattr(ultralytics.models, "YOLO", Classifier)
    with pytest.raises(DetectorError, match="gives no boxes"):
        UltralyticsDetector(YARD, Params())


def test_a_failure_while_looking_may_pass(monkeypatch: pytest.MonkeyPatch):
    detector = UltralyticsDetector(YARD, Params())

    def broken(*args, **kwargs):
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(detector.model, "predict", broken)
    with pytest.raises(DetectorError, match="out of memory") as failure:
        detector.detect([np.zeros((8, 8, 3), np.uint8)])
    assert not failure.value.permanent
    monkeypatch.setattr(detector.model, "predict", lambda *args, **kwargs: [])
    with pytest.raises(DetectorError, match="answered 0 of 1"):
        detector.detect([np.zeros((8, 8, 3), np.uint8)])


def test_nms_without_torchvision_is_a_sentence_not_an_import_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    detector = UltralyticsDetector(YARD, Params())
    detector.nms_free = False
    with pytest.raises(DetectorError, match="need torchvision") as failure:
        detector.detect([np.zeros((64, 64, 3), np.uint8)])
    assert failure.value.permanent


def test_it_keeps_to_itself(tmp_path: Path):
    """Nothing printed, no settings in the home folder, no folder left behind, no network asked for."""
    script = (
        "import socket, sys\n"
        "def no(*args, **kwargs): raise SystemExit('asked the network')\n"
        "socket.getaddrinfo = socket.create_connection = no\n"
        "from pathlib import Path\n"
        "import numpy as np\n"
        "from detection.vision.types import Params\n"
        "from detection.vision.ultralytics import UltralyticsDetector\n"
        f"UltralyticsDetector(Path({str(YARD)!r}), Params()).detect([np.zeros((90, 160, 3), np.uint8)])\n"
    )
    home, scratch = tmp_path / "home", tmp_path / "scratch"
    home.mkdir()
    scratch.mkdir()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("YOLO_", "XDG_"))}
    env |= {"HOME": str(home), "TMPDIR": str(scratch), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", script], env=env, cwd=home, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (home / ".config" / "Ultralytics").exists()
    assert not (home / "runs").exists()
    assert [path.name for path in scratch.iterdir() if "ultralytics" in path.name.lower()] == []


def test_the_committed_weights_are_small_and_name_no_machine():
    assert YARD.stat().st_size < 2_000_000
    assert YARD.with_suffix(".md").is_file()
    with zipfile.ZipFile(YARD) as archive:
        pickled = b"".join(archive.read(name) for name in archive.namelist() if name.endswith(".pkl"))
    here = str(Path(__file__).parents[2]).encode()
    for word in (b"/home", b"/tmp", b"/usr", b"\\Users", b"nightjar-training", here):
        assert word not in pickled
