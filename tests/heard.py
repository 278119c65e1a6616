"""What was logged, with the correlation id that it was logged under."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from detection import correlation


class Heard(logging.Handler):
    """Notes it where our formatter would: in the thread that logs, at the moment it does."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[tuple[logging.LogRecord, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record, correlation.current()))

    def of(self, name: str) -> list[logging.LogRecord]:
        """The lines of one logger."""
        return [record for record, _ in self.lines if record.name == name]

    def ids(self, name: str) -> list[str]:
        return [said_under for record, said_under in self.lines if record.name == name]

    def facts(self, name: str) -> dict[str, Any]:
        """Those of the only line of this logger."""
        (record,) = self.of(name)
        return vars(record)


@contextmanager
def listening(*names: str) -> Iterator[Heard]:
    """Listens to these loggers, whatever their levels are."""
    heard, loggers = Heard(), [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(heard)
        logger.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(heard)
            logger.setLevel(level)
