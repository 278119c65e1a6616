"""What goes into a grab and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from detection.vision.types import MediaInfo


@dataclass(frozen=True, slots=True)
class Limits:
    """What a camera may take at most, counted from the start of the grab.

    Looking at a still picture after it has arrived takes up to ``LOOK_S`` more, at worst, and so does starting a child.
    """

    connect_s: float  # name, connection and TLS
    first_frame_s: float  # the first byte of a picture
    total_s: float  # the whole picture
    max_bytes: int
    max_pixels: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Which machines may be called, and where the files of file cameras are."""

    allow_loopback: bool
    allow_private: bool
    files_dir: Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One picture of a camera."""

    content: bytes  # the file: as the camera sent it, or a JPEG of the frame
    info: MediaInfo
    preview: bytes  # a small JPEG
    fingerprint: str  # SHA-256 of the decoded pixels and their size: equal only for the very same picture
    taken_at: datetime  # UTC: when its first byte, or the frame, was there


# What a grab may fail of and that counts against its camera.
FAULTS = frozenset(
    {
        "damaged", "forbidden_address", "garbage", "http_status", "no_device", "no_file", "not_found", "redirects",
        "refused", "server_error", "timeout", "tls", "too_large", "unauthorised", "unknown_host", "unreachable",
    }
)  # fmt: skip


class GrabError(Exception):
    """No picture; the message is a sentence for the user without any secret, ``kind`` a short code.

    ``permanent``: trying again will not help until somebody changes something. The kind “unexpected” does not count
    against the camera: it is for what no camera can cause.
    """

    def __init__(self, message: str, *, kind: str, permanent: bool = False) -> None:
        super().__init__(message.replace("\0", ""))  # no database takes one in a text
        self.kind = kind
        self.permanent = permanent

    def __reduce__(self) -> tuple[object, ...]:  # exceptions with keywords do not pickle by themselves
        return _again, (str(self), self.kind, self.permanent)


def own_reason(error: Exception) -> GrabError:
    """What nobody foresaw. A camera may have caused it, so it counts against the camera."""
    return GrabError(f"The grab failed for a reason of its own ({type(error).__name__}).", kind="damaged")


def _again(message: str, kind: str, permanent: bool) -> GrabError:
    return GrabError(message, kind=kind, permanent=permanent)
