from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from detection.vision import pipeline
from detection.vision.frames import plan_spans
from detection.vision.pipeline import detect, pack, require_readable, thumbnails, track, unpack, unreadable
from detection.vision.types import (
    Detection,
    DetectorError,
    FrameDetections,
    Image,
    MediaError,
    Params,
    Track,
    TrackPoint,
)
from tests.vision.clips import damage, picture, write_clip


class WhiteSquare:
    """Finds the white square of tests.vision.clips, and notes what it was asked."""

    labels = ("square",)
    needs_motion = False

    def __init__(self, batch: int = 4) -> None:
        self.batch = batch
        self.calls: list[int] = []
        self.resets = 0

    def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
        self.calls.append(len(images))
        return [self._look(image) for image in images]

    def _look(self, image: Image) -> list[Detection]:
        rows, columns = np.nonzero(image.min(axis=2) > 200)
        if not len(rows):
            return []
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        return [Detection(*(float(v) + 0.04 for v in box), 0.91234, "square")]

    def reset(self) -> None:
        self.resets += 1


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_every_sampled_frame_gets_its_answer_in_order(batch: int, tmp_path: Path) -> None:
    detector = WhiteSquare(batch)
    path = write_clip(tmp_path / "clip.mp4")
    found, stats = detect(path, "clip", None, detector, Params(fps=10))
    assert [f.time_s for f in found] == [round(k / 10, 3) for k in range(20)]
    assert all(f.inferred for f in found)
    for k, frame in enumerate(found):
        (box,) = frame.detections
        assert box.x1 == pytest.approx(k * 6, abs=1.1)
    assert (stats.frames_read, stats.frames_sampled, stats.frames_inferred) == (60, 20, 20)
    assert (sum(detector.calls), max(detector.calls), detector.resets) == (20, min(batch, 20), 1)
    assert stats.decode_s > 0
    assert len(stats.batches_s) == -(-20 // batch), "each call of the detector is timed"
    assert stats.infer_s == pytest.approx(sum(stats.batches_s), abs=0.001)


def test_chunks_give_what_the_whole_clip_gives(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", options={"bf": "3"})
    whole, stats = detect(path, "clip", None, WhiteSquare(), Params(fps=7))
    spans = plan_spans(path, 0.5)
    parts = [detect(path, "clip", span, WhiteSquare(), Params(fps=7)) for span in spans]
    assert len(parts) == 3
    assert [frame for found, _ in parts for frame in found] == whole
    assert sum(part.frames_read for _, part in parts) == stats.frames_read


def test_a_still_clip_is_looked_at_once_a_second(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", still=True, frames=90)
    found, stats = detect(path, "clip", None, WhiteSquare(), Params(fps=5))
    assert (len(found), stats.frames_inferred) == (15, 3)
    assert len({frame.detections for frame in found}) == 1
    assert [frame.inferred for frame in found] == [True, *[False] * 4] * 3
    detector = WhiteSquare()
    assert detect(path, "clip", None, detector, Params(fps=5, gate=False))[1].frames_inferred == 15
    detector.needs_motion = True
    assert detect(path, "clip", None, detector, Params(fps=5))[1].frames_inferred == 15


def test_a_damaged_stretch_costs_its_own_frames_only(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "clip.mp4", frames=90), 30, 60)
    spans = plan_spans(path, 0.9)
    parts = [detect(path, "clip", span, WhiteSquare(), Params(fps=10)) for span in spans]
    assert [(stats.frames_read, len(found)) for found, stats in parts] == [(30, 10), (0, 0), (30, 10)]
    planned, read = sum(span.frames for span in spans), sum(stats.frames_read for _, stats in parts)
    assert unreadable(planned, read) == 30
    require_readable(planned, read)


def test_a_clip_of_which_less_than_half_decodes_is_damaged(tmp_path: Path) -> None:
    path = damage(write_clip(tmp_path / "clip.mp4", frames=90), 30, 90)
    (span,) = plan_spans(path, 60)
    _, stats = detect(path, "clip", span, WhiteSquare(), Params())
    with pytest.raises(
        MediaError, match=r"^Only (2[5-9]|30) of the 90 frames of this clip could be read: it is damaged\.$"
    ) as no:
        require_readable(span.frames, stats.frames_read)
    assert no.value.kind == "unreadable"


def test_frames_that_are_only_counted_are_no_damage() -> None:
    assert [unreadable(100, 98), unreadable(100, 97), unreadable(1000, 990), unreadable(1000, 989)] == [0, 3, 0, 11]
    assert unreadable(60, 61) == 0
    require_readable(100, 50)
    require_readable(1, 1)
    require_readable(0, 0)
    for planned, read in ((100, 49), (1, 0)):
        with pytest.raises(MediaError, match="damaged"):
            require_readable(planned, read)


def test_one_image_is_one_frame(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    PillowImage.fromarray(picture(20)).save(path)
    found, stats = detect(path, "image", None, WhiteSquare(), Params())
    assert found == [FrameDetections(0.0, True, (Detection(40.0, 40.0, 70.0, 70.0, 0.912, "square"),))]
    assert (stats.frames_read, stats.frames_inferred) == (1, 1)
    (only,) = track("image", found, Params())
    assert (only.label, only.score, len(only.points)) == ("square", 0.912, 1)
    assert track("image", found, Params(sighting_score=0.95)) == []


def test_a_clip_of_one_picture_has_what_the_picture_has() -> None:
    weak, strong = Detection(1, 2, 30, 40, 0.45, "car"), Detection(50, 2, 80, 40, 0.9, "car")
    seen = [FrameDetections(0.0, inferred=True, detections=(strong, weak))]
    assert track("clip", seen, Params()) == track("image", seen, Params())
    assert [found.score for found in track("clip", seen, Params())] == [0.9, 0.45]


def test_an_image_cannot_be_looked_at_by_motion(tmp_path: Path) -> None:
    detector = WhiteSquare()
    detector.needs_motion = True
    with pytest.raises(DetectorError, match="models add") as caught:
        detect(tmp_path / "image.png", "image", None, detector, Params())
    assert caught.value.permanent


def test_progress_is_told_and_can_stop_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    told: list[int] = []
    detect(path, "clip", None, WhiteSquare(), Params(), told.append)
    assert told == [60]
    monkeypatch.setattr(pipeline, "REPORT_S", -1.0)
    told.clear()
    detect(path, "clip", None, WhiteSquare(), Params(), told.append)
    assert told[:3] == [0, 6, 12]

    class Cancelled(Exception):
        pass

    def stop(frames: int) -> None:
        if frames >= 12:
            raise Cancelled

    detector = WhiteSquare(batch=1)
    with pytest.raises(Cancelled):
        detect(path, "clip", None, detector, Params(), stop)
    assert sum(detector.calls) <= 3


def test_a_detector_that_fails_fails_the_work(tmp_path: Path) -> None:
    class Failing(WhiteSquare):
        def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
            if len(self.calls) == 2:
                raise DetectorError("Out of memory.", permanent=False)
            return super().detect(images)

    class Forgetful(WhiteSquare):
        def detect(self, images: Sequence[Image]) -> list[list[Detection]]:
            return super().detect(images)[1:]

    path = write_clip(tmp_path / "clip.mp4")
    for batch in (1, 4):
        with pytest.raises(DetectorError, match="Out of memory"):
            detect(path, "clip", None, Failing(batch), Params(fps=10))
    with pytest.raises(DetectorError, match="without an answer"):
        detect(path, "clip", None, Forgetful(), Params())
    (tmp_path / "no.mp4").write_bytes(b"no clip at all")
    with pytest.raises(MediaError):
        detect(tmp_path / "no.mp4", "clip", None, WhiteSquare(), Params())


def test_packing_changes_nothing_and_is_small(tmp_path: Path) -> None:
    found, _ = detect(write_clip(tmp_path / "clip.mp4"), "clip", None, WhiteSquare(), Params(fps=30))
    repeated = [*found, FrameDetections(2.0, False, found[-1].detections), FrameDetections(2.2, True, ())]
    assert unpack(pack(repeated)) == repeated
    assert len(pack(repeated)) < 1500
    assert unpack(pack([])) == []
    still = [FrameDetections(k / 5, k == 0, found[0].detections) for k in range(3000)]
    assert len(pack(still)) < 15_000


def test_bytes_of_others_are_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError):
        unpack(b"nothing packed")
    monkeypatch.setattr("detection.vision.pack.VERSION", 9)
    newer = pack([])
    monkeypatch.undo()
    with pytest.raises(ValueError, match="version 9"):
        unpack(newer)


def test_thumbnails_show_the_best_moment_with_some_surroundings(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4")
    found, _ = detect(path, "clip", None, WhiteSquare(), Params())
    (only,) = track("clip", found, Params())
    early = Track("square", 0.5, (TrackPoint(0.0, 0, 0, 20, 20, 0.5),))
    outside = Track("square", 0.5, (TrackPoint(1.0, 400, 400, 500, 500, 0.5),))
    shown = dict(thumbnails(path, "clip", [only, outside, early]))
    assert set(shown) == {0, 1, 2}
    with PillowImage.open(io.BytesIO(shown[0])) as image:
        assert image.size == (38, 46)
        middle = np.asarray(image)[23, 15]
        assert middle.min() > 180
    with PillowImage.open(io.BytesIO(shown[2])) as image:
        assert np.asarray(image)[5, 5, 2] > 180
    still = tmp_path / "image.png"
    PillowImage.fromarray(picture(0, 1600, 1200)).save(still)
    whole = Track("yard", 1.0, (TrackPoint(0.0, 0, 0, 1600, 1200, 1.0),))
    ((index, data),) = thumbnails(still, "image", [whole])
    with PillowImage.open(io.BytesIO(data)) as image:
        assert (index, image.size) == (0, (320, 240))
    assert list(thumbnails(path, "clip", [])) == []
