"""Small real files, drawn for the tests."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
from PIL import Image


def a_jpeg(seed: int = 1, size: tuple[int, int] = (64, 48)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def a_clip(path: Path, codec: str = "libx264", frames: int = 10) -> bytes:
    """A clip of a moving grey ramp; the container follows the path's ending."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            ramp = np.roll(np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)), number, axis=1)
            frame = av.VideoFrame.from_ndarray(np.dstack([ramp] * 3), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path.read_bytes()
