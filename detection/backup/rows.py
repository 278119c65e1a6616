"""Tables as lines of JSON: the names of the columns first, then a row a line, whatever the database."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import Error as DatabaseFault
from django.db import connection, models

from detection.backup import BackupError
from detection.backup.manifest import Part
from detection.fields import Secret, SecretField

ROWS_AT_ONCE = 500
BYTES_AT_ONCE = 4 * 1024**2  # of text: rows with long paths go in fewer at a time
LONGEST_LINE_BYTES = 1024**3
Row = Mapping[str, Any]


def write_lines(path: Path, lines: Iterator[Any]) -> Part:
    """Values as a compressed file, one a line; the first line is not counted among the rows."""
    count = -1
    with path.open("xb") as raw, gzip.GzipFile(fileobj=raw, mode="wb", filename="", mtime=0, compresslevel=6) as out:
        for line in lines:
            out.write(json.dumps(line, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass"))
            out.write(b"\n")
            count += 1
    digest = hashlib.sha256()
    with path.open("rb") as written:
        while block := written.read(1024**2):
            digest.update(block)
    return Part(rows=count, bytes=path.stat().st_size, sha256=digest.hexdigest())


def read_lines(path: Path) -> Iterator[tuple[Any, int]]:
    """The values of such a file, each with how long its text is. Raises BackupError for what is none."""
    number = 0
    try:
        with gzip.open(path, "rb") as file:
            while line := file.readline(LONGEST_LINE_BYTES):
                number += 1
                if not line.endswith(b"\n"):
                    raise BackupError(f"{path} is damaged: line {number} does not end.")
                yield json.loads(line.decode("utf-8", "surrogatepass")), len(line)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise BackupError(f"{path} is damaged: line {number} cannot be read ({error}).") from error


def dump(model: type[models.Model], path: Path, each: Callable[[Row], None]) -> Part:
    """Writes a table; ``each`` sees every row."""
    fields = model._meta.concrete_fields
    columns = [field.attname for field in fields]

    def lines() -> Iterator[list[Any]]:
        yield columns
        rows = model._base_manager.order_by("pk").values_list(*columns)
        for row in rows.iterator(chunk_size=100 if any(_is_long(field) for field in fields) else 2000):
            values = [_encoded(value) for value in row]
            each(dict(zip(columns, values, strict=True)))
            yield values

    return write_lines(path, lines())


def _is_long(field: models.Field[Any, Any]) -> bool:
    return isinstance(field, models.BinaryField | models.JSONField)


def _encoded(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str() | list() | dict():
            return value
        case Secret():
            return value.ciphertext
        case bytes() | memoryview():
            return base64.b64encode(value).decode()
        case datetime():
            return value.astimezone(UTC).isoformat()
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case _:  # loudly, before something is written that cannot be read
            raise TypeError(f"a backup does not know how to write a {type(value).__name__}")


def _decoded(field: models.Field[Any, Any], value: Any) -> Any:
    if value is None or isinstance(field, models.JSONField):
        return value
    if isinstance(field, models.BinaryField):
        return base64.b64decode(value, validate=True)
    return field.to_python(value)


def read(model: type[models.Model], path: Path) -> Iterator[tuple[Row, int]]:
    """The rows of a table as they are written, each with how long its text is. Raises BackupError."""
    columns = [field.attname for field in model._meta.concrete_fields]
    lines = read_lines(path)
    if (header := next(lines, None)) is None or header[0] != columns:
        raise BackupError(f"{path} is damaged: its columns are not those of the table {model._meta.label}.")
    for number, (values, length) in enumerate(lines, start=2):
        if not isinstance(values, list) or len(values) != len(columns):
            raise BackupError(f"{path} is damaged: line {number} has not as many values as there are columns.")
        yield dict(zip(columns, values, strict=True)), length


def load(model: type[models.Model], path: Path, each: Callable[[Row], None]) -> int:
    """Inserts the rows of a table as they were; ``each`` sees every one before. Raises BackupError."""
    fields = model._meta.concrete_fields
    for field in fields:  # these models are nobody else's
        if isinstance(field, models.DateField | models.TimeField):
            field.auto_now = field.auto_now_add = False
    count = size = 0
    waiting: list[models.Model] = []
    try:
        for row, length in read(model, path):
            if row[model._meta.pk.attname] is None:
                raise ValueError("a row without its key")
            each(row)
            waiting.append(model(**{field.attname: _decoded(field, row[field.attname]) for field in fields}))
            count += 1
            size += length
            if len(waiting) >= ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
                model._base_manager.bulk_create(waiting)
                waiting, size = [], 0
        model._base_manager.bulk_create(waiting)
    except (DatabaseFault, ValidationError, ValueError, TypeError) as error:
        reason = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error).partition("\n")[0]
        raise BackupError(
            f"The rows of {model._meta.label} up to number {count:,} do not fit the database ({reason})."
        ) from error
    return count


def secrets_in(model: type[models.Model]) -> list[str]:
    """The columns of a table that are encrypted."""
    return [field.attname for field in model._meta.concrete_fields if isinstance(field, SecretField)]


def empty(tables: list[type[models.Model]]) -> None:
    """Takes out what the migrations have put in: the backup has its own."""
    with connection.cursor() as cursor:
        for model in tables:
            cursor.execute(f"DELETE FROM {connection.ops.quote_name(model._meta.db_table)}")  # noqa: S608 (a table of ours)
