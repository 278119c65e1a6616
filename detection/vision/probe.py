"""Looking at a file before it is taken in: what it is, whether all of it is there, and whether it stays within limits.

``probe`` does the looking, ``probe_isolated`` does it in a process of its own, which a hostile file may crash or hang
without harm. This module is read by the web process: what decodes is imported inside functions.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detection.vision.sniff import CLIP_FORMATS, IMAGE_FORMATS, sniff
from detection.vision.types import Limits, MediaError, MediaInfo

if TYPE_CHECKING:
    from typing import BinaryIO

    from av.container import InputContainer
    from av.video.stream import VideoStream
    from PIL.Image import Exif

    from detection.vision.types import Frame, Image

ACCEPTED = "Images (JPEG, PNG, WebP) and clips (MP4, MOV, MKV, WebM, AVI, MPEG-TS) can be taken in."
REFUSALS = {
    "archive": (
        "archive",
        f"This file is an archive. Unpack it and upload what is in it. {ACCEPTED}",
    ),
    "playlist": (
        "playlist",
        f"This file is a list that names other files or addresses, not a clip itself. {ACCEPTED}",
    ),
    "heic": (
        "unknown_format",
        f"HEIC and AVIF pictures cannot be read. Save the picture as JPEG first. {ACCEPTED}",
    ),
    None: (
        "unknown_format",
        f"This file is neither an image nor a clip that can be read. {ACCEPTED}",
    ),
}
BOXES = (b"mdat", b"moof", b"mfra", b"free", b"udta", b"meta", b"sidx", b"uuid")  # what may follow an MP4's index
CUT_OFF = "This file is cut off: a part of it is missing. Copy or record it again."
PREVIEW_SIDE = 480
MEMORY_BYTES = 4 * 1024**3  # address space of the child: room for the largest picture several times over
ROOT = Path(__file__).resolve().parents[2]


def probe(path: Path, limits: Limits, preview: Path | None = None) -> MediaInfo:
    """What the file is. Reads all of it and decodes its first picture, which ``preview`` receives as a small JPEG.

    Raises MediaError with a sentence for the user and one of the kinds ``empty``, ``unknown_format``, ``playlist``,
    ``archive``, ``truncated``, ``no_video``, ``too_large`` (pixels or bytes), ``too_long``, ``too_many_frames``,
    ``bad_duration``, ``unreadable``.
    """
    size = path.stat().st_size
    if size == 0:
        raise MediaError("empty", "This file is empty.")
    if size > limits.bytes:
        raise MediaError(
            "too_large",
            f"This file is larger than the {limits.bytes / 1e6:,.0f} MB that are allowed.",
        )
    name = sniff(path)
    if name in IMAGE_FORMATS:
        info, picture = _probe_image(path, name, limits)
    elif name in CLIP_FORMATS:
        info, picture = _probe_clip(path, name, limits)
    else:
        raise MediaError(*REFUSALS[name])
    if preview:
        save_preview(picture, preview)
    return info


def look_at_image(path: Path, limits: Limits) -> tuple[MediaInfo, Image]:
    """``probe`` for what must be an image, with its decoded picture. Raises MediaError as ``probe`` does."""
    name = sniff(path)
    if name not in IMAGE_FORMATS:
        raise MediaError(*REFUSALS.get(name, REFUSALS[None]))
    return _probe_image(path, name, limits)


def _check_pixels(width: int, height: int, limits: Limits) -> None:
    if width * height > limits.pixels:
        allowed = f"{limits.pixels / 1e6:.3g} megapixels"
        raise MediaError(
            "too_large",
            f"The picture is {width} x {height} pixels; at most {allowed} are allowed.",
        )


def _probe_image(path: Path, name: str, limits: Limits) -> tuple[MediaInfo, Image]:
    from PIL import Image as PillowImage
    from PIL import UnidentifiedImageError

    from detection.vision.frames import open_picture, read_image

    PillowImage.MAX_IMAGE_PIXELS = None  # our own limit is checked from the header, before anything is decoded
    try:
        with open_picture(path, formats=("JPEG", "PNG", "WEBP")) as picture:
            _check_pixels(*picture.size, limits)
            exif = picture.getexif()
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        if path.stat().st_size < 1024 or "truncated" in str(error).lower():
            raise MediaError("truncated", CUT_OFF) from error
        raise MediaError("unreadable", "This image is damaged: it cannot be decoded.") from error
    image = read_image(path)
    height, width = image.shape[:2]
    rotation = {3: 180, 6: 90, 8: 270}.get(exif.get(0x0112, 1), 0)
    return MediaInfo("image", name, name, width, height, 0.0, 1, rotation, _exif_time(exif), True), image


def _exif_time(exif: Exif) -> str | None:
    """EXIF's time of the shot as ISO 8601, with its offset where the camera wrote one (EXIF 2.31)."""
    from datetime import datetime

    details = exif.get_ifd(0x8769)
    text = str(details.get(0x9003) or exif.get(0x0132) or "").strip("\0 ")
    try:
        shot = datetime.strptime(text, "%Y:%m:%d %H:%M:%S").isoformat()  # noqa: DTZ007  # EXIF times have no zone
    except ValueError:
        return None
    offset = str(details.get(0x9011) or details.get(0x9010) or "").strip("\0 ")
    return shot + offset if len(offset) == 6 and offset[0] in "+-" else shot


def _probe_clip(path: Path, name: str, limits: Limits) -> tuple[MediaInfo, Image]:
    from detection.vision.container import open_clip, video_stream
    from detection.vision.spans import survey

    _check_complete(path, name)
    with open_clip(path) as container:
        stream = video_stream(container)
        context = stream.codec_context
        _check_pixels(context.width, context.height, limits)
        found = survey(
            container,
            stream,
            lambda frames, end_s: _check_length(frames, end_s, limits),
        )
        codec, format_ = context.name, "webm" if _is_webm(path, name) else name
        plays = (format_, _codec_name(codec), context.pix_fmt or "")
        captured_at = _container_time(container, stream)
    if not found.frames:
        raise MediaError("unreadable", "This clip has no pictures in it.")
    if not 0 < found.end_s < float("inf"):
        raise MediaError(
            "bad_duration",
            "The length of this clip cannot be told: its time stamps make no sense.",
        )
    first, matrix, rotation = _first_picture(path, limits)
    height, width = first.image.shape[:2]
    upright_only = matrix != (1, 0, 0, 1) and (format_ != "mp4" or not _is_plain_turn(matrix))
    info = MediaInfo(
        "clip",
        name,
        _codec_name(codec),
        width,
        height,
        found.end_s,
        found.frames,
        rotation,
        captured_at,
        browser_plays=_browser_plays(*plays) and not upright_only,
    )
    return info, first.image


def _first_picture(path: Path, limits: Limits) -> tuple[Frame, tuple[int, int, int, int], int]:
    from detection.vision.container import rotation_of
    from detection.vision.frames import first_frame

    frame, matrix = first_frame(path, lambda width, height: _check_pixels(width, height, limits))
    return frame, matrix, rotation_of(matrix)


def _is_plain_turn(matrix: tuple[int, int, int, int]) -> bool:
    a, b, c, d = matrix
    return a * d - b * c > 0  # a mirrored picture has the other sign, and browsers show it unmirrored


def _check_length(frames: int, end_s: float, limits: Limits) -> None:
    if frames > limits.frames:
        raise MediaError(
            "too_many_frames",
            f"This clip has more than the {limits.frames:,} frames that are allowed.",
        )
    if end_s > limits.duration_s:
        if end_s > 400 * 24 * 3600:  # no recording, but stamps gone wrong
            raise MediaError(
                "bad_duration",
                "The length of this clip cannot be told: its time stamps make no sense.",
            )
        raise MediaError(
            "too_long",
            f"This clip is longer than the {limits.duration_s / 60:,.0f} minutes allowed.",
        )


def _codec_name(decoder: str) -> str:
    """Decoders are named after their library; what a person knows is the codec."""
    return {"libdav1d": "av1", "libvpx": "vp8", "libvpx-vp9": "vp9"}.get(decoder, decoder)


def _browser_plays(format_: str, codec: str, pixels: str) -> bool:
    """Whether Chromium, Firefox and Safari of today play it."""
    codecs = {"mp4": ("h264", "av1", "vp9"), "webm": ("vp8", "vp9", "av1")}.get(format_, ())
    return codec in codecs and pixels in ("yuv420p", "yuvj420p")


def _is_webm(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        return name == "matroska" and b"\x42\x82\x84webm" in file.read(64)


def _container_time(container: InputContainer, stream: VideoStream) -> str | None:
    """The recording time that the container notes; QuickTime's own key has the camera's offset."""
    for notes in (container.metadata, stream.metadata):
        for key in (
            "com.apple.quicktime.creationdate",
            "creation_time",
            "DATE_RECORDED",
        ):
            text = notes.get(key, "")
            if len(text) >= 19 and not text.startswith(("1904-", "1970-01-01")):  # clocks that were never set
                return text
    return None


def _check_complete(path: Path, name: str) -> None:
    """Raise MediaError where the container says itself that it is longer than the file.

    MPEG-TS has no such mark: a stream may be cut anywhere, and what is there is whole.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        if name == "mp4":
            _check_atoms(file, size)
        elif name == "avi":
            declared = int.from_bytes(file.read(8)[4:8], "little")
            # Recorders that lost their power leave 0 or all ones here; FFmpeg reads what there is.
            if declared not in (0, 0xFFFFFFFF) and declared + 8 > size + 1:
                raise MediaError("truncated", CUT_OFF)
        elif name == "matroska":
            end = _segment_end(file.read(4096))
            if end is not None and end > size:
                raise MediaError("truncated", CUT_OFF)


def _check_atoms(file: Any, size: int) -> None:
    """ISO/IEC 14496-12: boxes of 32-bit size and type, 1 for a 64-bit size that follows, 0 for up to the end."""
    at, has_index = 0, False
    while at + 8 <= size:
        file.seek(at)
        head = file.read(16)
        length = int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if length == 0:
            length = size - at
        if length < 8 or (at + length > size and has_index and head[4:8] not in BOXES):
            break  # what some cameras put after the last box
        if at + length > size:
            raise MediaError("truncated", CUT_OFF)
        has_index = has_index or head[4:8] == b"moov"
        at += length
    if not has_index:
        raise MediaError(
            "truncated",
            f"{CUT_OFF} The index that is written last (moov) is not there.",
        )


def _segment_end(head: bytes) -> int | None:
    """RFC 8794/9559: where the Matroska segment ends, None where it was written without a known size."""
    at = 4
    length, width = _vint(head, at)
    at += width + (length or 0)
    if head[at : at + 4] != b"\x18\x53\x80\x67":
        return None
    length, width = _vint(head, at + 4)
    return None if length is None else at + 4 + width + length


def _vint(data: bytes, at: int) -> tuple[int | None, int]:
    """An EBML variable-size integer and its width; all ones means unknown."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (None if width > 8 or value == (1 << 7 * width) - 1 else value), width


def save_preview(image: Image, target: Path | BinaryIO) -> None:
    """The picture as a small JPEG."""
    from PIL import Image as PillowImage

    picture = PillowImage.fromarray(image)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    picture.save(target, format="JPEG", quality=82)


def probe_isolated(path: Path, limits: Limits, preview: Path | None = None, timeout_s: float = 60) -> MediaInfo:
    """``probe`` in a child process that has no secrets in its environment and bounded memory, CPU and time.

    Raises MediaError as ``probe`` does; ``unreadable`` also where the child crashed or had to be stopped, and
    RuntimeError where it could not do its work for a reason that is not the file's.
    """
    order = {
        "path": str(path.absolute()),
        "preview": str(preview.absolute()) if preview else None,
    }
    try:
        child = subprocess.run(
            [sys.executable, "-m", "detection.vision.probe", json.dumps({**order, "limits": asdict(limits)})],
            cwd=ROOT,
            env={"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "NIGHTJAR_PROBE_CPU_S": str(int(timeout_s) + 1)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise MediaError(
            "unreadable",
            f"Looking at this file took longer than {timeout_s:.0f} seconds.",
        ) from error
    return _answer(child)


def _answer(child: subprocess.CompletedProcess[bytes]) -> MediaInfo:
    if child.returncode < 0:  # ended by a signal: crashed, or over its CPU time
        raise MediaError(
            "unreadable",
            "This file cannot be read: looking at it failed. It is probably damaged.",
        )
    try:
        answer = json.loads(child.stdout)
    except ValueError:
        tail = child.stderr.decode("utf-8", "replace")[-2000:]
        raise RuntimeError(f"The probe ended with {child.returncode} and no answer.\n{tail}") from None
    if "error" in answer:
        raise MediaError(**answer["error"])
    return MediaInfo(**answer["info"])


def _bound_resources(cpu_s: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024**2, 64 * 1024**2))
    if sys.platform == "linux":  # macOS refuses to bound the address space
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def main(order: str) -> dict[str, Any]:
    """The child's work: what ``probe`` found, or the MediaError it raised, as JSON values."""
    wanted = json.loads(order)
    preview = Path(wanted["preview"]) if wanted["preview"] else None
    try:
        return {"info": asdict(probe(Path(wanted["path"]), Limits(**wanted["limits"]), preview))}
    except MediaError as error:
        return {"error": {"kind": error.kind, "message": str(error)}}
    except MemoryError:
        return {
            "error": {
                "kind": "too_large",
                "message": "Looking at this file takes more memory than is allowed.",
            }
        }


if __name__ == "__main__":
    _bound_resources(int(os.environ.get("NIGHTJAR_PROBE_CPU_S", "60")))
    print(json.dumps(main(sys.argv[1])))
