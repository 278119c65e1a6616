"""What must not be restored as it was: leases of workers that are gone, and rows whose files were being removed."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import models
from django.db.migrations.state import StateApps
from django.db.models import F
from django.db.models.functions import Greatest

from detection.backup.files import batched

QUEUED, RUNNING, DONE = "queued", "running", "done"
HELD = {"lease": None, "lease_until": None}
AT_ONCE = 500


def free_what_was_held(apps: StateApps) -> None:
    """What was being worked on when the backup was made begins again, as after a stop: it counts as no attempt."""
    not_counted = {"attempts": Greatest(F("attempts") - 1, 0), "sent_at": None, **HELD}
    work = {name: _rows(apps, name) for name in ("analysis", "chunk", "proxy", "notification")}
    held = {name: rows.filter(state=RUNNING, lease__isnull=False) for name, rows in work.items()}
    held["analysis"].filter(step="finish").update(step="detect", **not_counted)  # its chunks are done
    held["analysis"].exclude(step="detect").update(state=QUEUED, **not_counted)
    for name in ("chunk", "proxy", "notification"):
        held[name].update(state=QUEUED, **not_counted)
    for rows in work.values():
        rows.filter(state=QUEUED).update(sent_at=None)  # no message is on its way: the sweep sends it at once
    captures = _rows(apps, "capture").filter(state="planned")
    captures.filter(lease__isnull=False).update(**not_counted)
    captures.update(sent_at=None)


def forget_removed(apps: StateApps, names: Sequence[str]) -> None:
    """Media that were removed while the backup was made are removed here, too, and what was made from others is not.

    A copy for browsers is made again; a small picture is gone.
    """
    untried = {"attempts": 0, "lapses": 0, **HELD, "sent_at": None, "finished_at": None, "file": "", "bytes": 0}
    for some in batched(names, AT_ONCE):
        _rows(apps, "media").filter(file__in=some).delete()
        _rows(apps, "proxy").filter(file__in=some).update(state=QUEUED, **untried)
        _rows(apps, "media").filter(preview__in=some).update(preview="")
        _rows(apps, "sighting").filter(thumbnail__in=some).update(thumbnail="")


def _rows(apps: StateApps, name: str) -> models.QuerySet[models.Model]:
    return apps.get_model("detection", name)._base_manager.all()
