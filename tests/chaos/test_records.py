"""What the rows and the storage hold, as the proof is told it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings
from django.utils import timezone

from detection.models import LooseFile
from tests.cast import a_media
from tests.chaos.check import Expected, check
from tests.chaos.records import PART_S, collect, to_clear_away

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(("due_in_s", "where"), [(3600, "on_record"), (-1, "overdue")])
def test_a_file_on_record_is_told_whether_its_time_has_come_or_not(due_in_s, where):
    media = a_media()
    due_at = timezone.now() + timedelta(seconds=due_in_s)
    LooseFile.objects.create(name=media.file.name, batch=uuid4(), due_at=due_at)
    records = collect()
    assert {media.file.name, media.preview.name} <= records.named & records.stored
    assert {name: getattr(records, name) for name in ("on_record", "overdue") if getattr(records, name)} == {
        where: {media.file.name}
    }
    nothing = Expected(frozenset(), {}, {}, {})
    assert check(nothing, records).named_but_loose == [media.file.name]


@pytest.fixture
def part() -> Iterator[Path]:
    """A file that a process had not finished writing."""
    path = Path(settings.INCOMING_DIR) / ".part-of-a-dead-one"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    yield path
    path.unlink()


@pytest.mark.parametrize(("age_s", "is_finding"), [(0, False), (PART_S - 5, False), (PART_S + 5, True)])
def test_what_a_dead_process_was_writing_is_an_orphan_once_somebody_should_have_cleared_it_away(
    part, age_s, is_finding
):
    os.utime(part, (time.time() - age_s,) * 2)
    found = check(Expected(frozenset(), {}, {}, {}), collect()).files_without_row
    assert (f"incoming/{part.name}" in found) == is_finding
    assert bool(to_clear_away().get("parts of files")) == is_finding


def test_what_came_to_its_time_after_all_was_stopped_is_no_orphan(part):
    os.utime(part, (time.time() - PART_S - 5,) * 2)
    found = check(Expected(frozenset(), {}, {}, {}), collect(time.time() - 10)).files_without_row
    assert f"incoming/{part.name}" not in found
