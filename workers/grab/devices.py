"""Cameras that are not reached by a network, in the child: USB devices, and files that play in a loop."""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from detection.vision import types
from detection.vision.frames import frames_at
from detection.vision.probe import probe
from detection.vision.sniff import IMAGE_FORMATS, sniff
from workers.grab.look import check_pixels, of_frame, of_media, seen
from workers.grab.types import GrabError
from workers.grab.wire import Message

if TYPE_CHECKING:
    from detection.vision.types import Image
    from workers.grab.types import Limits, Policy

SETTLE_FRAMES = 5  # dropped, until the exposure has settled


def from_device(address: str, limits: Limits) -> Message:
    """A frame of a V4L2 device. Raises GrabError."""
    path = os.path.realpath(f"/dev/video{address}" if address.isdigit() else address)
    if not Path(path).exists():
        raise GrabError(
            "There is no camera at this device on the machine that grabs. Look whether it is plugged in.",
            kind="no_device",
        )
    import cv2

    capture = cv2.VideoCapture(path, cv2.CAP_V4L2)
    try:
        if not capture.isOpened():
            raise GrabError(
                "The device cannot be opened as a camera. Look whether another program uses it, and whether the "
                "worker may read it (group “video”).",
                kind="no_device",
            )
        image = _settled(capture, limits)
        taken_at_s = time.time()
    finally:
        capture.release()
    check_pixels(image.shape[1], image.shape[0], limits)
    return of_frame(cast("Image", cv2.cvtColor(image, cv2.COLOR_BGR2RGB)), taken_at_s)


def _settled(capture: Any, limits: Limits) -> Image:
    until = time.monotonic() + min(limits.first_frame_s, limits.total_s)
    image: Image | None = None
    for _ in range(SETTLE_FRAMES + 1):
        read, frame = capture.read()
        image = frame if read else image
        if time.monotonic() > until:
            break
    if image is None:
        raise GrabError("The device gives no pictures. Unplug the camera and plug it in again.", kind="timeout")
    return image


def from_file(name: str, limits: Limits, policy: Policy) -> Message:
    """An image file as it is; of a clip the frame at this moment of an endless loop. Raises GrabError."""
    path = _inside(name, policy.files_dir)
    now_s = time.time()
    try:
        if sniff(path) in IMAGE_FORMATS:
            if path.stat().st_size > limits.max_bytes:
                raise GrabError("The camera's file is larger than is allowed.", kind="too_large", permanent=True)
            found = seen(content := path.read_bytes(), limits)
            return Message({**found.fields, "taken_at_s": now_s}, content, found.preview)
        stat = path.stat()
        length_s = _length_s(path, stat.st_mtime_ns, stat.st_size, limits.max_pixels)
        frames = frames_at(path, [now_s % length_s])
        try:
            return of_frame(next(frames).image, now_s)
        finally:
            frames.close()
    except types.MediaError as error:
        problem = of_media(error)
        if problem.kind == "garbage":
            problem = GrabError("The camera's file is neither a picture nor a clip that plays.", kind="garbage")
    except OSError:
        problem = GrabError(
            "The camera's file cannot be read. Look at its permissions.", kind="no_file", permanent=True
        )
    raise problem


@lru_cache(maxsize=16)
def _length_s(path: Path, _changed_ns: int, _size: int, max_pixels: int) -> float:
    return probe(path, types.Limits(pixels=max_pixels)).duration_s


def _inside(name: str, folder: Path) -> Path:
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()) or not path.is_file():
        raise GrabError(
            "There is no such file in the folder for camera files (CAMERA_FILES_DIR) on the machine that grabs.",
            kind="no_file",
            permanent=True,
        )
    return path
