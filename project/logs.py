"""What the log leaves out."""

import logging

from project.scrub import scrub


class WithoutRoutine(logging.Filter):
    """Drops the lines that say that what is done every moment was sent, received and done; their troubles stay."""

    ROUTINE = ("workers.tasks.sweep", "workers.tasks.tidy", "workers.tasks.grab")

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno > logging.INFO or not record.name.startswith("celery."):
            return True
        message = record.getMessage()
        return not any(task in message for task in self.ROUTINE)


class RefusalsInOneLine(logging.Filter):
    """A request that was refused (4xx) is a line; its traceback says no more than where in our code we refuse."""

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "status_code", 500) < 500:
            record.exc_info = None
            record.exc_text = None
        return True


class Scrubbed(logging.Filter):
    """Takes the credentials out of a line and its traceback. The last of the filters: the others see what was said."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 - whatever an argument's own __str__ raises; logging would print them all
            message = f"{record.msg} (with arguments that do not fit)"
        record.msg, record.args = scrub(message), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)  # formatters take this one and do not make their own
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return True
