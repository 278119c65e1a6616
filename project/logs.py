"""What the log leaves out."""

import logging


class WithoutSweeps(logging.Filter):
    """Drops the lines that say that a sweep was sent, received and done, every few seconds; its troubles stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or "workers.tasks.sweep" not in record.getMessage()


class RefusalsInOneLine(logging.Filter):
    """A request that was refused (4xx) is a line; its traceback says no more than where in our code we refuse."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = None
            record.exc_text = None
        return True
