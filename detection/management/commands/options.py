"""`manage.py options`: what can be set in the environment, as docs/operating.md and .env.example show it."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from project import options

BEGIN = "<!-- made by `manage.py options --write`: begin -->\n"
END = "<!-- made by `manage.py options --write`: end -->\n"


class Command(BaseCommand):
    help = "Lists what can be set in the environment and in .env."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--example", action="store_true", help="as .env.example")
        what.add_argument("--json", action="store_true", help="for scripts")
        what.add_argument("--write", action="store_true", help="into docs/operating.md and .env.example")
        what.add_argument("--check", action="store_true", help="exit status 1 where these two differ from the code")

    def handle(self, **chosen: Any) -> None:
        declared = settings.OPTIONS
        if chosen["json"]:
            self.stdout.write(json.dumps(options.as_rows(declared), ensure_ascii=False, indent=1))
        elif chosen["example"]:
            self.stdout.write(options.example(declared), ending="")
        elif chosen["write"] or chosen["check"]:
            self._files(write=chosen["write"])
        else:
            self.stdout.write(options.markdown(declared), ending="")

    def _files(self, *, write: bool) -> None:
        """Writes what differs, or refuses it."""
        for path, text in wanted(settings.BASE_DIR).items():
            if path.read_text(encoding="utf-8") == text:
                continue
            if not write:
                raise CommandError(f"{path.name} does not say what the code does: run `manage.py options --write`.")
            path.write_text(text, encoding="utf-8")
            self.stdout.write(f"Wrote {path}.")


def wanted(base: Path) -> dict[Path, str]:
    """What the files that are made from the options should hold."""
    handbook = base / "docs" / "operating.md"
    before, begin, rest = handbook.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CommandError(f"{handbook} lacks the two lines between which the settings stand.")
    table = f"{before}{begin}\n{options.markdown(settings.OPTIONS)}\n{end}{after}"
    return {handbook: table, base / ".env.example": options.example(settings.OPTIONS)}
