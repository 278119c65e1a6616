from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from detection.vision import openvino
from detection.vision.detector import load_detector
from detection.vision.frames import read_frames
from detection.vision.nms import overlaps, suppress
from detection.vision.openvino import OpenVinoDetector, letterbox, unletterbox
from detection.vision.types import Detection, DetectorError, Params

MODEL = "models/yolo11n_int8_openvino_model"


def has_bfloat16() -> bool:
    """Whether this processor calculates in bfloat16, as the one did on which the reference was made: OpenVINO chooses
    that by itself, where it can. Our detector calculates in float32 everywhere, so that all workers agree."""
    flags = set(Path("/proc/cpuinfo").read_text().split()) if Path("/proc/cpuinfo").exists() else set()
    return bool(flags & {"avx512_bf16", "amx_bf16"})


def partner(box: list[object], others: list[list[object]]) -> float | None:
    """The difference of scores to the partner: same label, overlap 0.9 or more."""
    near = [
        abs(float(box[4]) - float(other[4]))  # type: ignore[arg-type]
        for other in others
        if other[5] == box[5] and overlaps(np.array([box[:4]], float), np.array([other[:4]], float))[0, 0] >= 0.9
    ]
    return min(near, default=None)


@pytest.mark.needs_data
@pytest.mark.parametrize("clip", ["people", "car-detection"])
@pytest.mark.parametrize(
    ("precision", "share", "most"),
    [
        ("f32", 0.98, 0.1),
        pytest.param(
            "bf16", 0.995, 0.01, marks=pytest.mark.skipif(not has_bfloat16(), reason="no bfloat16 in this processor")
        ),
    ],
)
def test_detections_agree_with_the_reference(
    precision: str, share: float, most: float, clip: str, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino, "PRECISION", precision)
    detector = load_detector("openvino", data / MODEL, Params())
    reference = json.loads((data / f"reference/{clip}.json").read_text())["frames"]
    frames = [frame for frame in read_frames(data / f"clips/{clip}.mp4", None, None) if frame.index % 15 == 0]
    answers = detector.detect([frame.image for frame in frames])
    gaps: list[float | None] = []
    for frame, found in zip(frames, answers, strict=True):
        ours = [[d.x1, d.y1, d.x2, d.y2, d.score, d.label] for d in found]
        theirs = [[*box[:5], detector.labels[int(box[5])]] for box in reference[frame.index]["boxes"]]
        for boxes, others in ((ours, theirs), (theirs, ours)):
            gaps += [partner(box, others) for box in boxes if box[4] >= 0.4]
    met = [gap for gap in gaps if gap is not None]
    assert len(gaps) > 5
    assert len(met) / len(gaps) >= share
    assert max(met) <= most


def tiny_model(folder: Path, output: np.ndarray, names: dict[int, str], size: int = 64, batch: int | str = 1) -> Path:
    """A model that answers every picture with the same numbers, times the mean brightness of its upper left pixel."""
    picture = ops.parameter([batch if isinstance(batch, int) else -1, 3, size, size], np.float32, name="images")
    corner = ops.slice(picture, [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 1])
    answer = ops.multiply(ops.constant(output[None].astype(np.float32)), ops.reshape(corner, [1, 1, 1], False))
    folder.mkdir()
    ov.save_model(ov.Model([answer], [picture]), folder / "tiny.xml", compress_to_fp16=False)
    lines = "".join(f"  {number}: {name}\n" for number, name in names.items())
    (folder / "metadata.yaml").write_text(f"task: detect\nimgsz:\n- {size}\n- {size}\nnames:\n{lines}")
    return folder


def white(width: int = 128, height: int = 64) -> np.ndarray:
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:] = 255
    return image


def raw_output() -> np.ndarray:
    """Ten boxes of ``4 + 2 labels`` rows on a picture of 64 pixels; two overlap, one is too weak."""
    output = np.zeros((6, 10))
    output[:, 0] = 32, 32, 16, 8, 0.9, 0.1
    output[:, 1] = 33, 32, 16, 8, 0.8, 0.0  # the same again
    output[:, 2] = 33, 32, 16, 8, 0.0, 0.7  # another label there
    output[:, 3] = 60, 20, 16, 8, 0.0, 0.3
    output[:, 4] = 60, 30, 16, 8, 0.2, 0.0
    return output


@pytest.mark.parametrize("batch", [1, "dynamic"])
def test_boxes_come_back_in_the_pixels_of_the_picture(batch: int | str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "model", raw_output(), {0: "person", 1: "car"}, batch=batch)
    detector = OpenVinoDetector(folder, Params(iou=0.7))
    assert (detector.labels, detector.needs_motion) == (("person", "car"), False)
    image = white()
    image[0, 0] = 255
    answers = detector.detect([np.ascontiguousarray(image.transpose(1, 0, 2)), image])
    # The wide picture has grey bars above and below, which the model's corner sees as 114 of 255.
    grey = 114 / 255
    wide = answers[1]
    assert [d.label for d in wide] == ["person", "car"]
    assert [d.score for d in wide] == pytest.approx([0.9 * grey, 0.7 * grey], abs=1e-4)
    centre, half = 32 * grey, 8 * grey
    assert wide[0].x1 == pytest.approx((centre - half) * 2, abs=0.01)
    assert wide[0].y1 == 0  # cut at the edge
    assert detector.detect([]) == []


def test_an_end_to_end_model_is_read_and_its_double_answers_are_dropped(tmp_path: Path) -> None:
    rows = np.zeros((30, 6))
    rows[0] = 8, 16, 24, 40, 0.6, 1
    rows[1] = 8, 16, 24, 40, 0.9, 0
    rows[2] = 8, 16, 24, 40, 0.2, 0
    rows[3] = 9, 16, 24, 40, 0.5, 0  # the person once more
    detector = OpenVinoDetector(tiny_model(tmp_path / "model", rows, {0: "person", 1: "car"}) / "tiny.xml", Params())
    (found,) = detector.detect([white(64, 64)])
    assert found == [
        Detection(8, 16, 24, 40, pytest.approx(0.9), "person"),  # type: ignore[arg-type]
        Detection(8, 16, 24, 40, pytest.approx(0.6), "car"),  # type: ignore[arg-type]
    ]
    assert detector.detect([np.zeros((64, 64, 3), np.uint8)] * 20) == [[]] * 20
    detector.reset()


def test_a_model_that_answers_nonsense_could_not_look(tmp_path: Path) -> None:
    rows = np.zeros((30, 6))
    rows[3, 4] = np.nan
    detector = OpenVinoDetector(tiny_model(tmp_path / "model", rows, {0: "person"}), Params())
    with pytest.raises(DetectorError, match="no usable numbers"):
        detector.detect([white(64, 64)])


def test_a_failing_runtime_is_not_an_empty_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = OpenVinoDetector(tiny_model(tmp_path / "model", np.zeros((30, 6)), {0: "person"}), Params())
    monkeypatch.setattr(detector, "_width", 32)  # a picture of another size than the model takes
    with pytest.raises(DetectorError) as caught:
        detector.detect([white(64, 64)])
    assert not caught.value.permanent


def test_what_is_no_model_is_refused_with_a_sentence(tmp_path: Path) -> None:
    def refused(weights: Path | None, words: str) -> None:
        with pytest.raises(DetectorError, match=words) as caught:
            OpenVinoDetector(weights, Params())
        assert caught.value.permanent

    refused(None, "needs weights")
    refused(tmp_path, "one .xml file")
    refused(tmp_path / "nothing.xml", "one .xml file")
    folder = tiny_model(tmp_path / "model", np.zeros((7, 9)), {0: "person"})
    refused(folder, "no detection model")
    metadata = folder / "metadata.yaml"
    metadata.write_text("task: segment\nnames:\n  0: person\n")
    refused(folder, "segment")
    metadata.write_text("names: []\n")
    refused(folder, "names no labels")
    metadata.write_text("{")
    refused(folder, "metadata.yaml")
    metadata.unlink()
    refused(folder, "metadata.yaml")
    metadata.write_text("names:\n  0: person\n")
    (folder / "tiny.xml").write_text("<net")
    refused(folder, "cannot load")


@pytest.mark.parametrize(
    ("width", "height"), [(1920, 1080), (1080, 1920), (640, 640), (33, 517), (5000, 30), (641, 479)]
)
def test_the_letterbox_is_undone(width: int, height: int) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    sheet = letterbox(image, 640, 640)
    assert sheet.shape == (640, 640, 3)
    rows, columns = np.flatnonzero((sheet == 0).any(axis=(1, 2))), np.flatnonzero((sheet == 0).any(axis=(0, 2)))
    corners = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]], np.float32)
    scale = min(640 / width, 640 / height)
    assert unletterbox(corners, width, height, 640, 640)[0] == pytest.approx([0, 0, width, height], abs=0.51 / scale)


def test_suppression_is_by_label_and_overlap() -> None:
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [0, 0, 10, 5], [5, 5, 5, 5]], float)
    scores, labels = np.array([0.5, 0.9, 0.8, 0.7, 0.1]), np.array([0, 0, 1, 0, 0])
    assert suppress(boxes, scores, labels, 0.25, 0.7).tolist() == [1, 2, 3]
    assert suppress(boxes, scores, labels, 0.95, 0.7).tolist() == []
    assert overlaps(boxes[4:], boxes[4:])[0, 0] == 0
