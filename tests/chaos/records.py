"""The rows and the stored files as records; the only part of the proof that reads the database."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import Max
from django.db.models.functions import Now

from detection.models import Analysis, Chunk, LooseFile, Media, Model, Proxy, Sighting, Work
from detection.models.export import exported
from detection.storage import HELD_AT_LEAST_S
from tests.chaos.check import Copy, Records, Result, comparable

# A part file is left alone at first, whoever has it; then somebody comes by who clears it away, unless all is stopped.
PART_S = HELD_AT_LEAST_S + 30.0


def collect(kept_until: float | None = None) -> Records:
    """What there is now; ``kept_until`` is when housekeeping was at work last, if that was before."""
    analyses = Analysis.objects.select_related("media", "model").order_by("pk")
    proxies = Proxy.objects.select_related("media").order_by("pk")
    loose = LooseFile.objects.values_list("name", flat=True)
    return Records(
        media=tuple(Media.objects.values_list("sha256", flat=True)),
        results=tuple(_result(analysis) for analysis in analyses),
        copies=tuple(Copy(p.media.sha256, p.state, p.error_kind, p.error, p.attempts) for p in proxies),
        named=frozenset(_named()),
        stored=frozenset(stored_files()),
        on_record=frozenset(loose.filter(due_at__gt=Now())) | _parts(kept_until, is_due=False),
        overdue=frozenset(loose.filter(due_at__lte=Now())),
    )


def _result(analysis: Analysis) -> Result:
    most = analysis.chunks.aggregate(attempts=Max("attempts"), lapses=Max("lapses"))
    return Result(
        sha256=analysis.media.sha256,
        state=analysis.state,
        is_current=analysis.is_current,
        attempts=max(analysis.attempts, most["attempts"] or 0),
        lapses=max(analysis.lapses, most["lapses"] or 0),
        error_kind=analysis.error_kind,
        error=analysis.error,
        exported=comparable(exported(analysis)),
    )


def _named() -> list[str]:
    names: list[str] = []
    for rows, field in ((Media, "file"), (Media, "preview"), (Proxy, "file"), (Sighting, "thumbnail")):
        names += rows._default_manager.exclude(**{field: ""}).values_list(field, flat=True)
    return names + [name for files in Model.objects.values_list("files", flat=True) for name in files]


def stored_files() -> list[str]:
    """All files of the storage folder, those that are being received included."""
    folder = Path(default_storage.path(""))
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]


def _parts(at: float | None = None, *, is_due: bool) -> frozenset[str]:
    """Files that dead processes had not finished writing, and that were to be cleared away by then (now), or later."""
    folder, old = Path(default_storage.path("")), (at or time.time()) - PART_S
    found = set()
    for path in Path(settings.INCOMING_DIR).glob("*"):
        with suppress(FileNotFoundError):  # cleared away in this moment
            if (path.stat().st_mtime < old) == is_due:
                found.add(str(path.relative_to(folder)))
    return frozenset(found)


def unfinished() -> dict[str, int]:
    """How many rows of each kind still wait for something."""
    running = Analysis.State.RUNNING
    counts = {
        "analyses": Analysis.objects.filter(Work.UNFINISHED).count(),
        "chunks": Chunk.objects.filter(Work.UNFINISHED, analysis__state=running).count(),
        "copies": Proxy.objects.filter(Work.UNFINISHED).count(),
    }
    return {what: number for what, number in counts.items() if number}


def to_clear_away() -> dict[str, int]:
    """What housekeeping has yet to do: files whose time has come."""
    counts = {
        "loose files": LooseFile.objects.filter(due_at__lte=Now()).count(),
        "parts of files": len(_parts(is_due=True)),
    }
    return {what: number for what, number in counts.items() if number}
