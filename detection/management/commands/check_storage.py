"""`manage.py check_storage`: does the storage hold what the rows name, and nothing else?"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.models.remaking import remake_copy, remake_pictures
from detection.models.retention import size_words
from detection.models.stock import Finding, Kind, Stock, What, database
from detection.stored import location
from detection.vision.types import MediaError
from workers import tasks

SHOWN = 20  # of each sort; --json has all
Sort = tuple[Kind, What]
WORDS: dict[Sort, str] = {
    (Kind.ORPHAN, What.NOTHING): "files that no row names",
    (Kind.MISSING, What.MEDIA): "media whose file is not there",
    (Kind.MISSING, What.PREVIEW): "media whose small picture is not there",
    (Kind.MISSING, What.COPY): "copies for browsers that are not there",
    (Kind.MISSING, What.THUMBNAIL): "sightings whose picture is not there",
    (Kind.MISSING, What.WEIGHTS): "files of models that are not there",
    (Kind.SIZE, What.MEDIA): "media whose file has another size",
    (Kind.SIZE, What.COPY): "copies for browsers of another size",
    (Kind.CONTENT, What.MEDIA): "media whose file has other bytes than were taken in",
}
RESTORE = (
    "Restore them from a backup of the storage. Where there is none, remove these media on their pages; then the same "
    "files can be uploaded again."
)
ADVICE: dict[Sort, str] = {
    (Kind.ORPHAN, What.NOTHING): "Delete them with --delete-orphans.",
    (Kind.MISSING, What.MEDIA): RESTORE,
    (Kind.MISSING, What.PREVIEW): "Make them again with --remake-pictures.",
    (Kind.MISSING, What.COPY): "Have them made again with --remake-copies.",
    (Kind.MISSING, What.THUMBNAIL): "Make them again with --remake-pictures.",
    (Kind.MISSING, What.WEIGHTS): "Restore them from a backup of the storage, or add the model again.",
    (Kind.SIZE, What.MEDIA): RESTORE,
    (Kind.SIZE, What.COPY): "Have them made again with --remake-copies.",
    (Kind.CONTENT, What.MEDIA): RESTORE,
}
PICTURES = (What.PREVIEW, What.THUMBNAIL)
MENDING = ("--delete-orphans", "--remake-copies", "--remake-pictures")


class Command(BaseCommand):
    help = (
        "Compare the storage with the database, both ways: files that no row names, rows whose file is not there or is "
        "not what it was. Changes nothing unless told. Exit code 1 where something was found and not mended."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--hash", action="store_true", help="read all media as well, and compare their SHA-256")
        parser.add_argument("--json", action="store_true", help="one JSON object a line: each finding, then the sums")
        parser.add_argument("--delete-orphans", action="store_true", help="delete the files that no row names")
        parser.add_argument(
            "--max-share",
            type=float,
            default=5.0,
            metavar="PERCENT",
            help="delete nothing where more of all files than this have no row (default: 5)",
        )
        parser.add_argument("--force", action="store_true", help="delete them however many they are")
        parser.add_argument("--remake-copies", action="store_true", help="queue lost copies for browsers again")
        parser.add_argument("--remake-pictures", action="store_true", help="make lost small pictures again, here")

    def handle(self, **options: Any) -> None:
        if not 0 <= options["max_share"] <= 100:
            raise CommandError("--max-share must be a percentage from 0 to 100.")
        self.is_json = options["json"]
        self.stock = Stock(reads=options["hash"])
        self.found: Counter[Sort] = Counter()
        self.mended: Counter[Sort] = Counter()
        self.lost_pictures: defaultdict[int, list[Finding]] = defaultdict(list)
        shown: defaultdict[Sort, list[Finding]] = defaultdict(list)
        for finding in self._findings(remakes_copies=options["remake_copies"]):
            sort = (finding.kind, finding.what)
            self.found[sort] += 1
            if self.is_json:
                self.stdout.write(json.dumps(asdict(finding)))
            elif len(shown[sort]) < SHOWN:
                shown[sort].append(finding)
            if options["remake_pictures"] and finding.what in PICTURES and finding.media_pk is not None:
                self.lost_pictures[finding.media_pk].append(finding)
        if not self.is_json:
            self._tell(shown, [option for option in MENDING if options[option.strip("-").replace("-", "_")]])
        self._remake_pictures()
        refusal = self._delete_orphans(options) if options["delete_orphans"] else ""
        self._sum_up(refusal)

    def _findings(self, *, remakes_copies: bool) -> Iterator[Finding]:
        """All findings; copies are queued on the way."""
        for finding in self.stock.findings():
            yield finding
            if remakes_copies and finding.what == What.COPY and (proxy := remake_copy(finding)) is not None:
                tasks.send_proxy(proxy)  # where the broker is away, the sweep does
                self.mended[finding.kind, finding.what] += 1

    def _remake_pictures(self) -> None:
        for media_pk, findings in self.lost_pictures.items():
            try:
                for finding in remake_pictures(media_pk, findings):
                    self.mended[finding.kind, finding.what] += 1
            except (OSError, ValueError, MediaError) as error:
                self.stderr.write(f"The pictures of media {media_pk} could not be made again: {error}")

    def _delete_orphans(self, options: dict[str, Any]) -> str:
        """Answers why it was not done."""
        orphans = (Kind.ORPHAN, What.NOTHING)
        if not self.found[orphans]:
            return ""
        refusal = "" if options["force"] else self.stock.refusal(self.found[orphans], options["max_share"] / 100)
        if not refusal:
            self.mended[orphans] = sum(1 for _ in Stock().delete_orphans())
        return refusal

    def _tell(self, shown: dict[Sort, list[Finding]], asked: list[str]) -> None:
        stock = self.stock
        self.stdout.write(
            f"Compared {stock.files:,} files ({size_words(stock.bytes)}) in {location(stock.storage)}\n"
            f"with the {stock.named:,} that are named in {database()}."
        )
        if stock.waiting:
            self.stdout.write(
                f"{stock.waiting:,} more wait for their row, or to be deleted: nothing is wrong with them."
            )
        for sort in WORDS:
            if not self.found[sort]:
                continue
            self.stdout.write(f"\n{WORDS[sort].capitalize()}: {self.found[sort]:,}")
            for finding in shown[sort]:
                self.stdout.write(f"  {line(finding)}")
            if self.found[sort] > len(shown[sort]):
                self.stdout.write(f"  and {self.found[sort] - len(shown[sort]):,} more; --json names all")
            if not any(option in ADVICE[sort] for option in asked):
                self.stdout.write(ADVICE[sort])

    def _sum_up(self, refusal: str) -> None:
        """Says what was mended, and fails where not all was."""
        left = self.found - self.mended
        if self.is_json:
            sums = {
                "files": self.stock.files,
                "bytes": self.stock.bytes,
                "named": self.stock.named,
                "waiting": self.stock.waiting,
                "found": {f"{kind} {what}".strip(): number for (kind, what), number in self.found.items()},
                "mended": {f"{kind} {what}".strip(): number for (kind, what), number in self.mended.items()},
                "refusal": refusal,
            }
            self.stdout.write(json.dumps({"sums": sums}))
        else:
            for sort, number in self.mended.items():
                done = "Queued to be made again" if sort[1] == What.COPY else "Deleted" if not sort[1] else "Made again"
                self.stdout.write(f"\n{done}: {number:,} of {self.found[sort]:,} {WORDS[sort]}.")
            if not self.found:
                self.stdout.write("All is well.")
        if refusal and not self.is_json:
            raise CommandError(refusal)
        if left:
            sys.exit(1)


def line(finding: Finding) -> str:
    parts = [finding.name]
    if finding.bytes is not None:
        parts.append(size_words(finding.bytes))
    if finding.expected:
        parts.append(f"instead of {finding.expected}")
    if finding.media_pk is not None:
        parts.append(f"(media {finding.media_pk})")
    return "  ".join(parts)
