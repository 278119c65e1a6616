#!/usr/bin/env python
"""Runs the commands; what a person can put right is one sentence and not a traceback (--traceback shows it)."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    if sys.argv[1:2] in (["doctor"], ["options"]):  # they tell what is wrong with the settings, and all of it
        os.environ["NIGHTJAR_LENIENT"] = "1"
    try:
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
        from django.db import OperationalError, ProgrammingError

        from detection import correlation
    except ModuleNotFoundError as error:
        sys.exit(f"This Python has no {error.name}: run `make setup`, then use .venv/bin/python manage.py.")

    try:
        # All that a command does belongs together: its lines of the log, and the tasks that it sends.
        with correlation.bound(correlation.new()):
            execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read the output went away, as `head` does. Python would say so once more while it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    except (OperationalError, ProgrammingError) as error:
        # Most often a command that was run before `make setup`.
        if "--traceback" in sys.argv:
            raise
        reason = str(error).strip().partition("\n")[0]
        sys.exit(f"The database does not answer ({reason}): run `make setup` first, or check DATABASE_URL.")


if __name__ == "__main__":
    main()
