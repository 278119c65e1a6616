"""Uploads stream to files beside the storage, hashed on the way; nothing of them is ever whole in memory."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, Any
from weakref import WeakSet

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.template.defaultfilters import filesizeformat

from detection import disk
from detection.storage import UPLOAD, clear_left_behind, hold
from detection.views import faults

log = logging.getLogger(__name__)

LOOKS_EVERY = 8 * 1024**2  # bytes, for whether the disk has room for more
DISK_FULL = "The server's disk is full, so this file was not kept. Tell an administrator, then upload it again."
NEARLY_FULL = (
    "The server's disk is nearly full, so this file was not kept. Tell an administrator, then upload it again."
)
NOT_KEPT = "The server could not keep this file. It was written to the log; try again, or tell an administrator."
NO_STORAGE = (
    "The place where files are kept cannot be reached just now, so this file was not kept. Try again in a moment, or "
    "tell an administrator."
)
FAULTS = {"disk_full": DISK_FULL, "not_kept": NOT_KEPT, "storage_away": NO_STORAGE}
FORBIDDEN = "Your account may not upload."


class IncomingFile(UploadedFile):
    """A file that came in, lying in INCOMING_DIR until it is stored or closed; hashed, or refused with a sentence."""

    def __init__(self, name: str, content_type: str, charset: str | None, extra: dict[str, Any] | None) -> None:
        super().__init__(None, name, content_type, 0, charset, extra)
        self.sha256 = ""
        self.refusal_kind = ""
        self.refusal = ""

    def open_incoming(self) -> None:
        Path(settings.INCOMING_DIR).mkdir(parents=True, exist_ok=True)
        self.file = tempfile.NamedTemporaryFile(dir=settings.INCOMING_DIR, prefix=UPLOAD)  # noqa: SIM115
        hold(self.file)

    @property
    def on_disk(self) -> IO[bytes]:
        """The open file. Raises ValueError where it was refused before there was one."""
        if self.file is None:
            raise ValueError("this file was refused and is not on the disk")
        return self.file

    def temporary_file_path(self) -> str:
        return str(self.on_disk.name)

    def refuse(self, kind: str, sentence: str) -> None:
        """Keeps nothing of the file but its name and why."""
        self.refusal_kind, self.refusal = kind, sentence
        self.close()

    def close(self) -> None:
        if self.file is None:
            return
        # Closing also deletes. A file that was stored has been synced and moved away; of one that is given up, as on a
        # full disk, nothing is to be kept that could not be flushed.
        with suppress(OSError):
            self.file.close()


_coming_in: WeakSet[HashingUploadHandler] = WeakSet()
_one_at_a_time = Lock()


class HashingUploadHandler(FileUploadHandler):
    """Django's handler for every upload: to a file of ours, with its SHA-256, within MEDIA_MAX_BYTES.

    What is too large, or cannot be written, is refused alone: the rest of it is read and dropped, and the other files
    of the form go on.
    """

    chunk_size = 256 * 1024
    is_forbidden = False
    no_room = ""  # why nothing of this request is kept
    to_come = 0  # bytes that it announced and that have not come in yet

    def handle_raw_input(
        self,
        input_data: IO[bytes],
        META: dict[str, str],  # noqa: N803
        content_length: int,
        boundary: str,
        encoding: str | None = None,
    ) -> None:
        """Looks, before anything is written, whether there is room for all that the request announces.

        What others have announced to this process is theirs: of two that fit only alone, the first is kept. Nothing is
        held back for somebody who may not upload.
        """
        clear_left_behind(settings.INCOMING_DIR)
        # The CSRF check reads the body before any view can say no, so the right to upload is looked at here.
        user = getattr(self.request, "user", None)
        if user is not None and not user.has_perm("detection.add_media"):
            self.is_forbidden = True
            return
        with _one_at_a_time:
            promised = sum(other.to_come for other in _coming_in)
            if disk.has_room_for(promised + content_length):
                self.to_come = content_length
                _coming_in.add(self)
            else:
                self.no_room = no_room_sentence(content_length, promised)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self.digest = hashlib.sha256()
        self.file = IncomingFile(self.file_name or "", self.content_type or "", self.charset, self.content_type_extra)
        if self.is_forbidden:
            self.file.refuse("forbidden", FORBIDDEN)
            return
        if self.no_room:
            log.error("An upload was refused: %s", self.no_room)
            self.file.refuse("disk_full", self.no_room)
            return
        try:
            self.file.open_incoming()
        except OSError as error:
            self._refuse_for(error)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        self.to_come = max(0, self.to_come - len(raw_data))
        if self.is_forbidden:
            return
        if start + len(raw_data) > settings.MEDIA_MAX_BYTES:  # said also where there is no room: more would not help
            self.file.refuse("too_large", too_large_sentence())
        if self.file.refusal:
            return
        # Other processes write to this disk, too.
        if start // LOOKS_EVERY != (start + len(raw_data)) // LOOKS_EVERY and disk.is_nearly_full():
            log.error("An upload was broken off: %s", NEARLY_FULL)
            self.file.refuse("disk_full", NEARLY_FULL)
            return
        try:
            self.file.on_disk.write(raw_data)
        except OSError as error:
            self._refuse_for(error)
        self.digest.update(raw_data)

    def file_complete(self, file_size: int) -> IncomingFile:
        self.file.size = file_size
        if not self.file.refusal:
            try:
                self.file.on_disk.flush()
                self.file.on_disk.seek(0)
            except OSError as error:
                self._refuse_for(error)
            self.file.sha256 = self.digest.hexdigest()
        return self.file

    def upload_complete(self) -> None:
        self.to_come = 0

    def upload_interrupted(self) -> None:
        self.to_come = 0
        self.file.close()

    def _refuse_for(self, error: OSError) -> None:
        log.error("An upload could not be written to %s: %s", settings.INCOMING_DIR, error)
        kind = kind_of(error)
        self.file.refuse(kind, FAULTS[kind])


def kind_of(error: Exception) -> str:
    """What is wrong with this file alone, one of FAULTS; nothing where the whole request cannot go on."""
    fault = faults.fault_of(error)
    if fault in (faults.DISK_FULL, faults.STORAGE_AWAY):
        return "disk_full" if fault is faults.DISK_FULL else "storage_away"
    return "not_kept" if isinstance(error, OSError | RuntimeError) else ""


def too_large_sentence() -> str:
    return f"This file is larger than the {filesizeformat(settings.MEDIA_MAX_BYTES)} that are allowed."


def no_room_sentence(size: int, promised: int) -> str:
    """Why an upload of so many bytes is refused, where so many others are on their way."""
    room = (disk.room_bytes() or 0) - promised
    if room <= 0:
        return NEARLY_FULL
    return (
        f"The server's disk has room for {filesizeformat(room)}, and {filesizeformat(size)} were to come in, so this "
        "file was not kept. Send fewer or smaller files at once, or tell an administrator."
    )
