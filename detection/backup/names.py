"""Which columns name stored files, and which names are to be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# By table: the columns that hold the name of a file, or several. A test compares them with the models.
NAMING: dict[str, tuple[str, ...]] = {
    "detection.media": ("file", "preview"),
    "detection.proxy": ("file",),
    "detection.sighting": ("thumbnail",),
    "detection.model": ("files",),
}
LONGEST_PART_BYTES = 255
CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")


def is_safe(name: object) -> bool:
    """Whether it is a name that lies within a folder, whatever joins it to one."""
    if not isinstance(name, str) or not name or CONTROL.search(name):
        return False
    try:
        parts = [part.encode() for part in name.split("/")]
    except UnicodeEncodeError:
        return False
    return all(part not in (b"", b".", b"..") and len(part) <= LONGEST_PART_BYTES for part in parts)


def named_in(table: str, row: Mapping[str, Any]) -> Iterator[tuple[Any, str]]:
    """The files that a row of a table names, as they stand there, each with the SHA-256 that the row knows of it."""
    for column in NAMING.get(table, ()):
        value = row.get(column)
        for name in value if isinstance(value, list) else [value]:
            if name:
                yield name, row["sha256"] if (table, column) == ("detection.media", "file") else ""
