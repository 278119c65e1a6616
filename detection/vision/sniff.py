"""What a file is, by its first bytes; names and endings are never asked."""

from __future__ import annotations

from pathlib import Path

HEAD_BYTES = 4096
CLIP_FORMATS = ("mp4", "matroska", "avi", "mpegts")
IMAGE_FORMATS = ("jpeg", "png", "webp")

ATOMS = (
    b"ftyp",
    b"moov",
    b"mdat",
    b"wide",
    b"free",
    b"skip",
    b"pnot",
)  # what an MP4 or a MOV may begin with
STILL_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
ARCHIVES = (
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\xfd7zXZ\x00",
)
PLAYLISTS = (
    b"#EXTM3U",
    b"ffconcat",
    b"[playlist]",
    b"<asx",
    b"<smil",
    b"<MPD",
    b"v=0",
    b"file ",
    b"rtsp://",
    b"http://",
    b"https://",
)


def sniff(path: Path) -> str | None:
    """The format of a file: one of CLIP_FORMATS or IMAGE_FORMATS, ``heic``, ``archive``, ``playlist``, or None."""
    with path.open("rb") as file:
        return sniff_bytes(file.read(HEAD_BYTES))


def sniff_bytes(head: bytes) -> str | None:
    if head.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if head.startswith(b"RIFF"):
        return {b"WEBP": "webp", b"AVI ": "avi"}.get(head[8:12])
    if head.startswith(b"\x1a\x45\xdf\xa3"):
        return "matroska"
    if head[4:8] in ATOMS:
        return "heic" if head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS else "mp4"
    if head.startswith(ARCHIVES) or head[257:262] == b"ustar":
        return "archive"
    if _is_playlist(head):
        return "playlist"
    return "mpegts" if _is_mpegts(head) else None


def _is_playlist(head: bytes) -> bool:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(b"<?xml"):
        return b"<mpd" in text or b"<smil" in text or b"<asx" in text
    return text.startswith(tuple(mark.lower() for mark in PLAYLISTS))


def _is_mpegts(head: bytes) -> bool:
    """Sync bytes at a packet's distance: 188 bytes, 192 with a time code before, 204 with error correction after."""
    for size in (188, 192, 204):
        for offset in range(min(size, len(head))):
            marks = head[offset::size]
            if len(marks) >= 3 and marks == b"\x47" * len(marks):
                return True
    return False
