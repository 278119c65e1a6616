"""Uploads stream to files beside the storage, hashed on the way; nothing of them is ever whole in memory."""

from __future__ import annotations

import errno
import hashlib
import logging
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from django.conf import settings
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.template.defaultfilters import filesizeformat

log = logging.getLogger(__name__)

PREFIX = "upload-"
LEFT_BEHIND_S = 24 * 3600  # no upload takes a day: such a file is of a process that was killed
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
DISK_FULL = "The server's disk is full, so this file was not kept. Tell an administrator, then upload it again."
NOT_KEPT = "The server could not keep this file. It was written to the log; try again, or tell an administrator."
FORBIDDEN = "Your account may not upload."


class IncomingFile(UploadedFile):
    """A file that came in, lying in INCOMING_DIR until it is stored or closed; hashed, or refused with a sentence."""

    def __init__(self, name: str, content_type: str, charset: str | None, extra: dict[str, Any] | None) -> None:
        super().__init__(None, name, content_type, 0, charset, extra)
        self.sha256 = ""
        self.refusal_kind = ""
        self.refusal = ""

    @property
    def too_large(self) -> bool:
        return self.refusal_kind == "too_large"

    def open_incoming(self) -> None:
        Path(settings.INCOMING_DIR).mkdir(parents=True, exist_ok=True)
        self.file = tempfile.NamedTemporaryFile(dir=settings.INCOMING_DIR, prefix=PREFIX)  # noqa: SIM115

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
        # Closing also deletes; a file that was stored has been moved away, and one on a full disk cannot be flushed.
        with suppress(FileNotFoundError):
            try:
                self.file.close()
            except OSError as error:
                if error.errno not in FULL:
                    raise


class HashingUploadHandler(FileUploadHandler):
    """Django's handler for every upload: to a file of ours, with its SHA-256, within MEDIA_MAX_BYTES.

    What is too large, or cannot be written, is refused alone: the rest of it is read and dropped, and the other files
    of the form go on.
    """

    chunk_size = 256 * 1024

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        clear_left_behind()
        self.digest = hashlib.sha256()
        self.file = IncomingFile(self.file_name or "", self.content_type or "", self.charset, self.content_type_extra)
        # The CSRF check reads the body before any view can say no, so the right to upload is looked at here.
        user = getattr(self.request, "user", None)
        if user is not None and not user.has_perm("detection.add_media"):
            self.file.refuse("forbidden", FORBIDDEN)
            return
        try:
            self.file.open_incoming()
        except OSError as error:
            self._refuse_for(error)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        if self.file.refusal:
            return
        if start + len(raw_data) > settings.MEDIA_MAX_BYTES:
            self.file.refuse("too_large", too_large_sentence())
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

    def upload_interrupted(self) -> None:
        self.file.close()

    def _refuse_for(self, error: OSError) -> None:
        log.error("An upload could not be written to %s: %s", settings.INCOMING_DIR, error)
        kind, sentence = ("disk_full", DISK_FULL) if error.errno in FULL else ("not_kept", NOT_KEPT)
        self.file.refuse(kind, sentence)


def too_large_sentence() -> str:
    return f"This file is larger than the {filesizeformat(settings.MEDIA_MAX_BYTES)} that are allowed."


def clear_left_behind() -> None:
    """Deletes what uploads of processes that were killed have left in the incoming folder."""
    before = time.time() - LEFT_BEHIND_S
    for path in Path(settings.INCOMING_DIR).glob(f"{PREFIX}*"):
        with suppress(FileNotFoundError):  # another process was first
            if path.stat().st_mtime < before:
                path.unlink()
