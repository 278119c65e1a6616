from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from detection.vision import tracking
from detection.vision.detector import load_detector
from detection.vision.pipeline import detect, track
from detection.vision.tracking import track_frames
from detection.vision.types import Detection, FrameDetections, Params, Track

Mover = Callable[[float], Detection | None]


def person(
    x: float, y: float = 100, *, speed: float = 40, start_s: float = 0, end_s: float = 9, score: float = 0.8,
    label: str = "person",
) -> Mover:  # fmt: skip
    def at(time_s: float) -> Detection | None:
        if not start_s <= time_s <= end_s:
            return None
        left = x + speed * time_s
        return Detection(left, y, left + 40, y + 100, score, label)

    return at


def frames_of(*movers: Mover, times: Sequence[float] = tuple(k / 5 for k in range(26))) -> list[FrameDetections]:
    return [FrameDetections(t, True, tuple(d for mover in movers if (d := mover(t)))) for t in times]


def tracks_of(*movers: Mover, params: Params | None = None) -> list[Track]:
    return track_frames(frames_of(*movers), params or Params())


def test_each_object_is_one_track_from_its_first_frame_to_its_last() -> None:
    tracks = tracks_of(person(0, start_s=0.4, end_s=4), person(600, speed=-60), person(300, 400, speed=0, label="dog"))
    assert [(t.label, t.points[0].time_s, t.points[-1].time_s) for t in tracks] == [
        ("dog", 0, 5), ("person", 0, 5), ("person", 0.4, 4),
    ]  # fmt: skip
    assert [len(t.points) for t in tracks] == [26, 26, 19]
    assert all(t.score == pytest.approx(0.8) for t in tracks)


def test_labels_that_overlap_half_are_two_objects() -> None:
    tracks = tracks_of(person(0), person(0, 130, label="bicycle"))
    assert [t.label for t in tracks] == ["bicycle", "person"]
    assert [len(t.points) for t in tracks] == [26, 26]


def test_an_object_whose_label_wavers_is_one_track_of_the_label_that_weighs_more() -> None:
    def waver(time_s: float) -> Detection | None:
        label, score = ("truck", 0.9) if round(time_s * 5) % 3 else ("car", 0.6)
        return Detection(40 * time_s, 50, 40 * time_s + 120, 110, score, label)

    (only,) = tracks_of(waver)
    assert (only.label, len(only.points)) == ("truck", 26)


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    def missing(start_s: float, end_s: float) -> Mover:
        whole = person(0, speed=20)
        return lambda t: None if start_s <= t <= end_s else whole(t)

    assert len(tracks_of(missing(2, 2.5))) == 1
    assert len(tracks_of(missing(1.5, 4))) == 2


def test_weak_ends_belong_to_the_track() -> None:
    def fading(time_s: float) -> Detection | None:
        score = 0.3 if time_s < 0.7 or time_s > 4.3 else 0.8
        return Detection(30 * time_s, 0, 30 * time_s + 60, 80, score, "car" if time_s > 4.7 else "bus")

    (only,) = tracks_of(fading)
    assert (only.label, only.points[0].time_s, only.points[-1].time_s) == ("bus", 0, 5)


def test_what_is_weak_all_along_is_dropped() -> None:
    assert tracks_of(person(0, score=0.35)) == []
    assert tracks_of(person(0, score=0.55), params=Params(sighting_score=0.6)) == []


def test_one_frame_is_enough_for_a_sure_object_only() -> None:
    once = {"start_s": 1.9, "end_s": 2.1}
    (only,) = tracks_of(person(0, **once, score=0.7))  # type: ignore[arg-type]
    assert [point.time_s for point in only.points] == [2]
    assert tracks_of(person(0, **once, score=0.55)) == []  # type: ignore[arg-type]
    assert tracks_of(person(0, **once), params=Params(min_duration_s=0.5)) == []  # type: ignore[arg-type]


def test_a_single_picture_and_none_at_all_are_no_trouble() -> None:
    assert track_frames([], Params()) == []
    assert len(track_frames(frames_of(person(0), times=[0]), Params())) == 1


def test_gaps_in_time_count_as_long_as_they_are() -> None:
    times = [0, 0.2, 0.4, 0.45, 0.9, 1.0, 1.6, 1.7, 2.5, 2.6]
    (only,) = track_frames(frames_of(person(0, speed=25), times=times), Params())
    assert [point.time_s for point in only.points] == times


def test_the_order_of_detections_does_not_matter() -> None:
    frames = frames_of(person(0), person(500, speed=-40), person(250, 130, speed=5), person(20, 90, score=0.45))
    turned = [FrameDetections(f.time_s, f.inferred, f.detections[::-1]) for f in frames]
    assert track_frames(frames, Params()) == track_frames(turned, Params()) == track_frames(frames, Params())


def test_tracking_reports_and_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = frames_of(person(0), person(500, speed=-40))
    told: list[int] = []
    whole = track("clip", frames, Params(), lambda: told.append(1))
    assert (len(whole), len(told)) == (2, 1)
    monkeypatch.setattr(tracking, "REPORT_S", -1.0)
    track("clip", frames, Params(), lambda: told.append(1))
    assert len(told) > len(frames)

    class Cancelled(Exception):
        pass

    def stop() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        track_frames(frames, Params(), stop)


def test_the_work_grows_with_the_clip_and_no_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every loose detection was compared with every track's ends, and every track with every other one."""
    calls: list[int] = []
    real = tracking.overlap
    monkeypatch.setattr(tracking, "overlap", lambda a, b: calls.append(1) or real(a, b))
    beyond = tracking._beyond
    monkeypatch.setattr(tracking, "_beyond", lambda *given: calls.append(1) or beyond(*given))
    same = tracking._is_same
    monkeypatch.setattr(tracking, "_is_same", lambda *given: calls.append(1) or same(*given))

    def steps(many: int) -> int:
        """One scene of three seconds, again and again: two labels, and weak boxes that belong to nothing."""
        movers = [
            person(200 * lane, start_s=3 * n, end_s=3 * n + 1.5, label=label, speed=10)
            for n in range(many)
            for lane, label in enumerate(("person", "dog", "cat"))
        ]
        weak = [person(900, 900, start_s=3 * n + 0.5, end_s=3 * n + 0.7, score=0.3) for n in range(many)]
        calls.clear()
        track_frames(frames_of(*movers, *weak, times=[k / 5 for k in range(15 * many)]), Params())
        return len(calls)

    assert steps(40) < 2.5 * steps(20)


def score_tracks(data: Path) -> Any:
    file = data.parent / "tools/score_tracks.py"
    spec = importlib.util.spec_from_file_location("score_tracks", file)
    if not spec or not spec.loader or not file.exists():
        pytest.skip(f"{file} is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.needs_data
@pytest.mark.slow
@pytest.mark.parametrize("clip", ["people", "car-detection"])
def test_the_reference_tracks_are_found(clip: str, data: Path) -> None:
    detector = load_detector("openvino", data / "models/yolo11n_int8_openvino_model", Params())
    frames, stats = detect(data / f"clips/{clip}.mp4", "clip", None, detector, Params())
    tracks = track("clip", frames, Params())
    reference = json.loads((data / f"reference/{clip}.tracks.json").read_text())["tracks"]
    ours = [{"label": t.label, "path": [[p.time_s, p.x1, p.y1, p.x2, p.y2, p.score] for p in t.points]} for t in tracks]
    result = score_tracks(data).score(reference, ours)
    assert result["recall"] == 1, result
    assert result["coverage"] >= 0.93, result
    assert result["precision"] >= 0.85, result
    assert result["fragments"] <= 1.1, result
    assert stats.frames_inferred <= stats.frames_sampled < stats.frames_read
