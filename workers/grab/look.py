"""Looking at pictures, in the child: what they are, their small preview, their fingerprint."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as PillowImage

from detection.vision import types
from detection.vision.probe import look_at_image, save_preview
from workers.grab.types import GrabError
from workers.grab.wire import Message

if TYPE_CHECKING:
    from detection.vision.types import Image
    from workers.grab.types import Limits

JPEG_QUALITY = 90
SENTENCES = {
    "truncated": "The camera sent only a part of a picture.",
    "unreadable": "The camera's picture is damaged: it cannot be decoded.",
    "empty": "The camera's answer is empty.",
}
NO_PICTURE = (
    "What the camera sends is not a picture (JPEG, PNG, WebP). Look whether its address is the one of a still picture; "
    "for a stream choose MJPEG or RTSP."
)


def seen(content: bytes, limits: Limits) -> Message:
    """What a picture's file is. Raises GrabError where it is none, or a larger one than is allowed."""
    bounds = types.Limits(pixels=limits.max_pixels, bytes=limits.max_bytes)
    try:
        with as_file(content) as path:
            info, image = look_at_image(path, bounds)
    except types.MediaError as error:
        problem = of_media(error)
    else:
        fields = {"info": asdict(info), "fingerprint": fingerprint(image)}
        return Message(fields, preview=preview(image))
    raise problem


@contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """The bytes under a path: in memory where the system can."""
    if not hasattr(os, "memfd_create"):  # macOS
        with tempfile.NamedTemporaryFile(prefix="nightjar-look-") as file:
            file.write(content)
            file.flush()
            yield Path(file.name)
        return
    handle = os.memfd_create("picture")
    try:
        os.write(handle, content)
        yield Path(f"/proc/self/fd/{handle}")
    finally:
        os.close(handle)


def of_media(error: types.MediaError) -> GrabError:
    if error.kind == "too_large":
        return GrabError(f"{error} Set the camera to a smaller picture.", kind="too_large", permanent=True)
    return GrabError(SENTENCES.get(error.kind, NO_PICTURE), kind="garbage")


def check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise GrabError(
            f"The camera's picture is {width} x {height} pixels; at most {limits.max_pixels / 1e6:.3g} megapixels are "
            "allowed. Set the camera to a smaller picture.",
            kind="too_large",
            permanent=True,
        )


def of_frame(image: Image, taken_at_s: float) -> Message:
    """A frame (RGB) as a snapshot with a JPEG."""
    height, width = image.shape[:2]
    buffer = io.BytesIO()
    PillowImage.fromarray(image).save(buffer, format="JPEG", quality=JPEG_QUALITY)
    info = types.MediaInfo("image", "jpeg", "jpeg", width, height, 0.0, 1, 0, None, browser_plays=True)
    fields = {"info": asdict(info), "fingerprint": fingerprint(image), "taken_at_s": taken_at_s}
    return Message(fields, buffer.getvalue(), preview(image))


def preview(image: Image) -> bytes:
    buffer = io.BytesIO()
    save_preview(image, buffer)
    return buffer.getvalue()


def fingerprint(image: Image) -> str:
    """SHA-256 of the pixels and their size."""
    digest = hashlib.sha256(f"{image.shape[1]}x{image.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
