"""Whether storage and rows agree: files without a row, rows without their file, files that are not what a row says."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import TypeVar

from django.core.files.storage import default_storage
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Substr

from detection.models.loose_file import LooseFile
from detection.models.media import Media
from detection.models.model import Model
from detection.models.proxy import Proxy
from detection.models.sighting import Sighting
from detection.storage import INCOMING
from detection.stored import StoredFile, blocks_of, files_in, location, top_folders

YOUNG_S = 3600.0  # a file's row may be about to come
PAGE = 500
AT_ONCE = 100  # files deleted after one look at the rows
OF_MEDIA = {f"{number:02x}" for number in range(256)}  # the folders that all files of media lie in
OF_MODELS = "models"
T = TypeVar("T")


class Kind(StrEnum):
    """What is wrong."""

    ORPHAN = "orphan"  # a file that no row names
    MISSING = "missing"  # a row whose file is not there
    SIZE = "size"  # a file of another size than its row says
    CONTENT = "content"  # a media whose bytes have another hash


class What(StrEnum):
    """What a row names."""

    MEDIA = "media"
    PREVIEW = "preview"
    COPY = "copy"
    THUMBNAIL = "thumbnail"
    WEIGHTS = "weights"
    NOTHING = ""


@dataclass(frozen=True, slots=True)
class Named:
    """A file as a row names it, with what the row knows of it."""

    what: What
    name: str
    pk: int
    media_pk: int | None = None
    bytes: int = 0  # 0: not known
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``bytes`` is the size of what lies there, ``expected`` the row's word."""

    kind: Kind
    name: str
    bytes: int | None = None
    expected: str = ""
    what: What = What.NOTHING
    pk: int = 0  # of the row
    media_pk: int | None = None


class Stock:
    """Goes through storage and rows together, a folder at a time; what it has counted so far is in its numbers."""

    def __init__(self, *, reads: bool = False) -> None:
        self.storage = default_storage
        self.reads = reads  # all media, to compare their hashes
        self.files = self.bytes = self.named = self.waiting = 0

    def findings(self) -> Iterator[Finding]:
        """All that is wrong, each as it is found."""
        for files, named in self._parts():
            self.files += len(files)
            self.bytes += sum(file.bytes for file in files.values())
            self.named += len(named)
            yield from self._orphans(files, named)
            for row in named.values():
                finding = self._compared(row, files.get(row.name))
                if finding is not None:
                    yield finding

    def delete_orphans(self) -> Iterator[Finding]:
        """Deletes the files without a row, each after one more look at all rows; answers those that are gone."""
        orphans = (orphan for files, named in self._parts() for orphan in self._orphans(files, named))
        for some in _pages(orphans, AT_ONCE):
            names = {orphan.name for orphan in some}
            spared = _named_by_any_row(names) | _waiting(names)
            for orphan in some:
                if orphan.name not in spared:
                    self.storage.delete(orphan.name)
                    yield orphan

    def refusal(self, orphans: int, most_share: float) -> str:
        """Why so many orphans are not deleted unasked; empty where they may be. ``most_share`` of all files."""
        found = f"{orphans:,} of {self.files:,} files ({orphans / max(1, self.files):.1%}) have no row"
        check = (
            f"Check first that DATABASE_URL names the database of this storage (it names {database()}), and that "
            f"STORAGE_URL names its storage ({location(self.storage)}). Is it so, and are these files to go: --force."
        )
        if not Media.objects.exists():
            return f"Nothing was deleted: the database has no media at all, and {found}. {check}"
        if orphans > most_share * self.files:
            return f"Nothing was deleted: {found}, and more than {most_share:.0%} is too much by mistake. {check}"
        return ""

    def _parts(self) -> Iterator[tuple[dict[str, StoredFile], dict[str, Named]]]:
        """Files and rows that belong together, by their names. What is being written is left out.

        The rows are read before their folder: a row that has gone since is no stray's, but that of a removal.
        """
        there = set(top_folders(self.storage)) - {INCOMING}
        for folder in sorted(there | _folders_of_media() | {OF_MODELS}):
            named = {row.name: row for row in _rows_of(folder)}
            found = files_in(self.storage, folder) if folder in there else iter(())
            if folder in OF_MEDIA or folder == OF_MODELS:
                yield {file.name: file for file in found}, named
            else:
                for page in _pages(found, PAGE):
                    yield {file.name: file for file in page}, {}

    def _orphans(self, files: dict[str, StoredFile], named: dict[str, Named]) -> Iterator[Finding]:
        old = time.time() - YOUNG_S
        strays = (file for file in files.values() if file.name not in named and file.changed_at < old)
        for page in _pages(strays, PAGE):
            names = {file.name for file in page}
            waiting = _waiting(names)
            self.waiting += len(waiting)
            spared = waiting | _named_by_rows(names)
            for file in page:
                if file.name not in spared:
                    yield Finding(Kind.ORPHAN, file.name, file.bytes)

    def _compared(self, row: Named, file: StoredFile | None) -> Finding | None:
        if file is None and self.storage.exists(row.name):
            return None  # it came after its folder was read, or lies in another one
        if file is None:
            return self._finding(Kind.MISSING, row)
        if row.bytes and file.bytes != row.bytes:
            return self._finding(Kind.SIZE, row, file.bytes, f"{row.bytes} bytes")
        if self.reads and row.sha256:
            return self._read(row, file)
        return None

    def _read(self, row: Named, file: StoredFile) -> Finding | None:
        digest = hashlib.sha256()
        try:
            for block in blocks_of(self.storage, row.name):
                digest.update(block)
        except FileNotFoundError:
            return self._finding(Kind.MISSING, row)
        if digest.hexdigest() == row.sha256:
            return None
        return self._finding(Kind.CONTENT, row, file.bytes, f"SHA-256 {row.sha256}")

    def _finding(self, kind: Kind, row: Named, size: int | None = None, expected: str = "") -> Finding | None:
        """Unless the row has gone, or names another file, since it was read."""
        if not _names_still(row):
            return None
        return Finding(kind, row.name, size, expected, row.what, row.pk, row.media_pk)


def database() -> str:
    """The database as an operator knows it, without a password."""
    facts = connection.settings_dict
    return f"{facts['NAME']} on {facts['HOST']}" if facts.get("HOST") else str(facts["NAME"])


def _folders_of_media() -> set[str]:
    """The top folders that rows name."""
    return set(Media.objects.order_by().values_list(Substr("sha256", 1, 2), flat=True).distinct())


def _rows_of(folder: str) -> Iterator[Named]:
    """What rows name in a top folder."""
    if folder == OF_MODELS:
        for pk, names in Model.objects.values_list("pk", "files"):
            yield from (Named(What.WEIGHTS, name, pk) for name in names)
    if folder not in OF_MEDIA:
        return
    is_empty = True
    # A range, for which the index is good everywhere; no hexadecimal digit comes after "f".
    media = Media.objects.filter(sha256__gte=folder, sha256__lt=f"{folder}g").order_by()
    for pk, sha256, file, preview, size in media.values_list("pk", "sha256", "file", "preview", "bytes").iterator():
        is_empty = False
        yield Named(What.MEDIA, file, pk, pk, size, sha256)
        if preview:
            yield Named(What.PREVIEW, preview, pk, pk)
    if not is_empty:
        yield from _made_of(Q(media__sha256__gte=folder, media__sha256__lt=f"{folder}g"))


def _made_of(media: Q) -> Iterator[Named]:
    """What was made from these media."""
    copies = Proxy.objects.filter(media).exclude(file="").order_by()
    for pk, media_pk, name, size in copies.values_list("pk", "media", "file", "bytes").iterator():
        yield Named(What.COPY, name, pk, media_pk, size)
    pictures = Sighting.objects.filter(media).exclude(thumbnail="").order_by()
    for pk, media_pk, name in pictures.values_list("pk", "media", "thumbnail").iterator():
        yield Named(What.THUMBNAIL, name, pk, media_pk)


def _named_by_rows(names: set[str]) -> set[str]:
    """Which of these a row names now; looked for where a row of such a name can be, which has an index."""
    hashes = {name: match[1] for name in names if (match := re.match(r"[0-9a-f]{2}/([0-9a-f]{64})\b", name))}
    elsewhere = names - hashes.keys()
    found = _named_by_any_row(elsewhere) if elsewhere else set()
    some = set(hashes.values())
    for file, preview in Media.objects.filter(sha256__in=some).values_list("file", "preview"):
        found |= {file, preview}
    return names & (found | {row.name for row in _made_of(Q(media__sha256__in=some))})


def _named_by_any_row(names: set[str]) -> set[str]:
    """Which of these any row names, wherever they lie; reads whole tables."""
    weights = {name for files in Model.objects.values_list("files", flat=True) for name in files}
    media = Media.objects.order_by()
    return names & weights.union(
        media.filter(file__in=names).values_list("file", flat=True),
        media.filter(preview__in=names).values_list("preview", flat=True),
        Proxy.objects.filter(file__in=names).values_list("file", flat=True),
        Sighting.objects.order_by().filter(thumbnail__in=names).values_list("thumbnail", flat=True),
    )


def _waiting(names: set[str]) -> set[str]:
    """Which of these wait for their row, or to be deleted."""
    return set(LooseFile.objects.filter(name__in=names).values_list("name", flat=True))


def _names_still(row: Named) -> bool:
    match row.what:
        case What.MEDIA:
            return Media.objects.filter(pk=row.pk, file=row.name).exists()
        case What.PREVIEW:
            return Media.objects.filter(pk=row.pk, preview=row.name).exists()
        case What.COPY:
            return Proxy.objects.filter(pk=row.pk, file=row.name).exists()
        case What.THUMBNAIL:
            return Sighting.objects.filter(pk=row.pk, thumbnail=row.name).exists()
        case _:
            return row.name in (Model.objects.filter(pk=row.pk).values_list("files", flat=True).first() or ())


def _pages(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    left = iter(rows)
    while page := list(islice(left, size)):
        yield page
