"""What goes into a grab and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


LOOK_S = 10.0  # for looking at one picture


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


def own_reason(error: Exception) -> GrabError:
    """What nobody foresaw. A camera may have caused it, so it counts against the camera."""
    return GrabError(f"The grab failed for a reason of its own ({type(error).__name__}).", kind="damaged")
