"""The drawn scenes: the demo, the training set and the measure of the other tests."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from detection.vision.draw import LABELS, draw_scene, write_clip
from tests.vision.scoring import overlap


def test_the_same_seed_draws_the_same_scene_to_the_pixel():
    first = list(draw_scene(4, 320, 180, 1, 3))
    again = list(draw_scene(4, 320, 180, 1, 3))
    assert len(first) == len(again) == 3
    for (image, truth), (image_again, truth_again) in zip(first, again, strict=True):
        assert np.array_equal(image, image_again)
        assert truth == truth_again


def test_another_seed_draws_another_yard():
    one, other = (next(iter(draw_scene(seed, 320, 180, 1, 1)))[0].astype(int) for seed in (4, 5))
    assert np.abs(one - other).mean() > 10


@pytest.mark.parametrize(("width", "height"), [(320, 180), (300, 400), (641, 361)])
def test_pictures_have_the_size_asked_for_and_boxes_lie_inside(width, height):
    for image, truth in draw_scene(11, width, height, 6, 1):
        assert image.shape == (height, width, 3)
        assert image.dtype == np.uint8
        for box in truth:
            assert 0 <= box.x1 < box.x2 <= width
            assert 0 <= box.y1 < box.y2 <= height
            assert box.score == 1
            assert box.label in LABELS


def test_a_box_of_the_truth_ends_where_the_picture_changes():
    """The truth is tight: what differs between two moments lies in the boxes of either (shadows aside, under cloud)."""
    frames = list(draw_scene(3, 640, 360, 8, 1, parked=False))
    assert any(truth for _, truth in frames)
    for (before, truth_before), (after, truth_after) in pairwise(frames):
        changed = np.abs(before.astype(int) - after.astype(int)).max(axis=2) > 60
        inside = np.zeros_like(changed)
        for box in truth_before + truth_after:
            inside[int(box.y1) - 1 : int(box.y2) + 1, max(0, int(box.x1) - 1) : int(box.x2) + 1] = True
        assert changed[inside].mean() > 0.05
        assert (changed & ~inside).sum() < 0.02 * changed.sum()


def test_figures_and_cars_come_by_in_day_and_dusk():
    labels, brightness = set(), []
    for seed in range(8):
        for image, truth in draw_scene(seed, 320, 180, 12, 0.25):
            labels |= {box.label for box in truth}
            brightness.append(image.mean())
    assert labels == set(LABELS)
    assert min(brightness) < 70
    assert max(brightness) > 100


def test_what_is_mostly_hidden_is_not_in_the_truth():
    """Every box holds pixels enough to be seen: none is smaller than four pixels to a side."""
    boxes = [box for seed in range(6) for _, truth in draw_scene(seed, 480, 270, 10, 0.5) for box in truth]
    assert len(boxes) > 60
    assert all(box.x2 - box.x1 >= 4 and box.y2 - box.y1 >= 4 for box in boxes)


def test_parked_cars_stand_in_every_picture_and_can_be_left_out():
    def standing(parked: bool) -> int:
        """Cars that are where they were six seconds before; none pauses as long."""
        pairs = []
        for seed in (1, 3, 9):
            frames = [truth for _, truth in draw_scene(seed, 320, 180, 18, 1 / 6, parked=parked)]
            pairs += [(one, other) for before, after in pairwise(frames) for one in before for other in after]
        return sum(one.label == other.label == "car" and overlap(one, other) > 0.95 for one, other in pairs)

    assert standing(parked=True) >= 2
    assert standing(parked=False) == 0


def test_a_written_clip_is_what_browsers_play_and_keeps_every_frame(tmp_path: Path):
    path = tmp_path / "yard.mp4"
    truth = write_clip(path, draw_scene(2, 320, 180, 2, 5), 5)
    assert len(truth) == 10
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        frames = list(container.decode(video=0))
    assert [frame.time for frame in frames] == pytest.approx([number / 5 for number in range(10)])
    drawn = next(iter(draw_scene(2, 320, 180, 2, 5)))[0]
    assert np.abs(frames[0].to_ndarray(format="rgb24").astype(int) - drawn).mean() < 6
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that playing starts at once"


def test_a_clip_without_frames_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="at least one frame"):
        write_clip(tmp_path / "empty.mp4", [], 5)


def test_nobody_walks_through_the_house():
    """Whoever is in the picture stands on the ground: no figure's feet are above the foot of the far wall."""
    for seed in range(6):
        feet = [box.y2 for _, truth in draw_scene(seed, 320, 180, 30, 0.5) for box in truth]
        assert min(feet) > 0.4 * 180
