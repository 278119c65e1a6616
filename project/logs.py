"""What the log leaves out."""

import logging


class WithoutSweeps(logging.Filter):
    """Drops the lines that say that a sweep was sent, received and done, every few seconds; its troubles stay."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or "workers.tasks.sweep" not in record.getMessage()
