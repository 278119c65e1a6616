"""Small clips for tests, drawn and encoded here: a white square on a ground that gets brighter from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from detection.vision.types import Image

MILLISECOND = Fraction(1, 1000)


def picture(index: int, width: int = 160, height: int = 120) -> Image:
    """The square moves two pixels a frame; the top left corner is blue, so that a turn shows."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, :] = index * 4 % 200, 0, 0
    left = index * 2 % (width - 30)
    image[40:70, left : left + 30] = 255
    image[:20, :20] = 0, 0, 255
    return image


def write_clip(
    path: Path,
    *,
    codec: str = "libx264",
    muxer: str | None = None,
    frames: int = 60,
    fps: int = 30,
    size: tuple[int, int] = (160, 120),
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    times_ms: Sequence[int] | None = None,
    still: bool = False,
    muxer_options: dict[str, str] | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A clip with a key frame every ten frames, at a steady rate or at given times."""
    with av.open(str(path), "w", format=muxer, options=muxer_options or {}) as out:
        out.metadata.update(metadata or {})
        stream = out.add_stream(codec, rate=fps, options={"g": "10", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        if times_ms:
            stream.codec_context.time_base = MILLISECOND
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(0 if still else index, *size), format="rgb24")
            frame = frame.reformat(format=pixels)
            frame.pts = times_ms[index] if times_ms else index
            if times_ms:
                frame.time_base = MILLISECOND
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def set_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write the display matrix of an MP4's video track, as a phone that is held otherwise does (ISO/IEC 14496-12)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[at : at + 36] = b"".join((value & 0xFFFFFFFF).to_bytes(4, "big") for value in values)
    path.write_bytes(data)
    return path


def damage(path: Path, first: int, last: int) -> Path:
    """Wipe the packets of an MP4 from ``first`` up to ``last``, all but their first bytes, which say what they are."""
    with av.open(str(path)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for at, size in packets[first:last]:
        data[at + 6 : at + size] = bytes(size - 6)
    path.write_bytes(data)
    return path
