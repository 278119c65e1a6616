"""Cameras that are files, or devices of this machine."""

from __future__ import annotations

import io
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from detection.sources import Source
from tests.grab.test_children import jpeg
from tests.grab.test_http import refusal
from tests.processes import PATIENCE
from tests.vision.clips import write_clip
from workers.grab import GrabError, Limits, Policy, devices, grab


def test_an_image_file_is_itself_and_a_clip_plays(limits: Limits, policy: Policy) -> None:
    (policy.files_dir / "still.jpg").write_bytes(jpeg())
    assert grab(Source("file", "still.jpg"), limits, policy).content == jpeg()
    write_clip(policy.files_dir / "loop.mp4")
    assert grab(Source("file", "loop.mp4"), limits, policy).info.width == 160


def test_a_clip_shows_the_frame_of_the_moment_in_a_loop(
    limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_clip(policy.files_dir / "loop.mp4")  # two seconds
    prints = []
    for now_s in (1000.5, 1001.5, 1002.5):
        monkeypatch.setattr(devices.time, "time", lambda now_s=now_s: now_s)
        prints.append(devices.from_file("loop.mp4", limits, policy).fields["fingerprint"])
    assert prints[0] == prints[2] != prints[1]


def test_files_outside_of_the_folder_and_absent_ones_are_refused(
    limits: Limits, policy: Policy, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret.jpg"
    outside.write_bytes(jpeg())
    (policy.files_dir / "link.jpg").symlink_to(outside)
    for name in ("link.jpg", "absent.jpg", "../outside/secret.jpg", str(outside)):
        error = refusal(Source("file", name), limits, policy)
        assert (error.kind, error.permanent) == ("no_file", True)


def test_a_file_may_not_be_larger_than_a_picture_either(patient: Limits, policy: Policy) -> None:
    (policy.files_dir / "still.jpg").write_bytes(jpeg())
    write_clip(policy.files_dir / "loop.mp4")
    for name, strict in (
        ("still.jpg", replace(patient, max_bytes=100)),
        ("still.jpg", replace(patient, max_pixels=100)),
        ("loop.mp4", replace(patient, max_pixels=100)),
    ):
        error = refusal(Source("file", name), strict, policy)
        assert (error.kind, error.permanent) == ("too_large", True)


def test_a_file_that_may_not_be_read_is_told(limits: Limits, policy: Policy, monkeypatch: pytest.MonkeyPatch) -> None:
    (policy.files_dir / "still.jpg").write_bytes(jpeg())

    def no(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(devices, "sniff", no)  # whoever is root may read everything
    with pytest.raises(GrabError) as caught:
        devices.from_file("still.jpg", limits, policy)
    assert (caught.value.kind, caught.value.permanent) == ("no_file", True)


def test_a_file_that_plays_nothing_is_told(limits: Limits, policy: Policy) -> None:
    (policy.files_dir / "notes.txt").write_text("only text")
    error = refusal(Source("file", "notes.txt"), limits, policy)
    assert (error.kind, str(error)) == ("garbage", "The camera's file is neither a picture nor a clip that plays.")


def test_a_device_that_is_not_there_is_told(limits: Limits, policy: Policy) -> None:
    error = refusal(Source("usb", "/dev/video99"), limits, policy)
    assert (error.kind, error.permanent) == ("no_device", False)


class Webcam:
    """Its picture gets brighter until the exposure has settled."""

    opened, pictures = True, True

    def __init__(self, *_: object) -> None:
        self.shade = 0

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.opened

    def read(self) -> tuple[bool, object]:
        self.shade += 10
        return self.pictures, np.full((48, 64, 3), (0, 0, self.shade), dtype=np.uint8)

    def release(self) -> None:
        pass


def test_a_device_gives_a_picture_after_its_exposure_has_settled(
    limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video0").touch()
    monkeypatch.setattr("cv2.VideoCapture", Webcam)
    got = devices.from_device(str(tmp_path / "video0"), limits)
    red, _, blue = PillowImage.open(io.BytesIO(got.content)).getpixel((10, 10))
    assert red == pytest.approx(60, abs=4)
    assert blue < 5
    for trouble, kind in (("pictures", "timeout"), ("opened", "no_device")):
        monkeypatch.setattr(Webcam, trouble, False)
        with pytest.raises(GrabError) as caught:
            devices.from_device(str(tmp_path / "video0"), limits)
        assert caught.value.kind == kind


def test_a_device_is_opened_by_its_path_whether_it_is_a_number_or_a_link(
    limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[tuple[object, ...]] = []

    class Recorded(Webcam):
        def __init__(self, *how: object) -> None:
            super().__init__()
            opened.append(how)

    (tmp_path / "video7").touch()
    link = tmp_path / "v4l" / "by-id" / "usb-Cam-0"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../video7")  # as udev makes them; V4L2 of OpenCV reads the number off the name
    monkeypatch.setattr("cv2.VideoCapture", Recorded)
    monkeypatch.setattr(Path, "exists", lambda _: True)  # also where nothing is plugged in
    for address in ("0", str(link)):
        devices.from_device(address, limits)
    assert opened == [("/dev/video0", cv2.CAP_V4L2), (str((tmp_path / "video7").resolve()), cv2.CAP_V4L2)]


def test_a_slow_device_gives_what_it_has_when_time_is_over_and_is_let_go_of(
    limits: Limits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "video0").touch()
    reads: list[bool] = []
    released: list[bool] = []

    class Slow(Webcam):
        def read(self) -> tuple[bool, object]:
            time.sleep(0.25 * PATIENCE)
            _, frame = super().read()
            reads.append(len(reads) == 0)
            return reads[-1], frame  # only the first: one that is dropped does no harm

        def release(self) -> None:
            released.append(True)

    monkeypatch.setattr("cv2.VideoCapture", Slow)
    assert devices.from_device(str(tmp_path / "video0"), limits).content
    assert len(reads) <= 3
    reads.clear()
    with pytest.raises(GrabError) as caught:
        devices.from_device(str(tmp_path / "video0"), replace(limits, max_pixels=100))
    assert (caught.value.kind, caught.value.permanent) == ("too_large", True)
    assert released == [True, True]
