"""`manage.py prune`: what retention would remove; with --delete, removes it now."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.utils import timezone

from detection.models import Camera
from detection.models.clock import now
from detection.models.pruning import Outcome, Summary, Tally, captures_to_go, kept_in_all, prune, sentence
from detection.models.retention import Plan, has_rules, size_words

NO_RULE = (
    "No rule is set, so no media is removed by itself. Set RETAIN_DAYS or RETAIN_BYTES, or enter for a camera how long "
    "its pictures are kept."
)
HEAD = ("camera", "rule", "media", "size", "came in from", "to", "not reviewed", "failed", "never analysed")
LEFT = 2  # columns of text; those behind them are numbers


class Command(BaseCommand):
    help = "Show what retention would remove, and change nothing; with --delete, remove it now."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--delete", action="store_true", help="remove it: this cannot be undone")
        parser.add_argument("--json", action="store_true", help="print it as JSON")

    def handle(self, *, delete: bool, **options: Any) -> None:
        outcome = prune() if delete else _would()
        if options["json"]:
            self.stdout.write(json.dumps(_facts(outcome, is_dry=not delete), indent=2))
        else:
            self._tell(outcome, is_dry=not delete)
        for shortfall in outcome.shortfalls:
            self.stderr.write(self.style.WARNING(sentence(shortfall)))

    def _tell(self, outcome: Outcome, *, is_dry: bool) -> None:
        if not has_rules():
            self.stdout.write(NO_RULE)
        elif not outcome.summary.total.media:
            self.stdout.write("No media is to go by the rules.")
        else:
            self.stdout.write("This would go:" if is_dry else "This is removed:")
            for line in _table(outcome.summary):
                self.stdout.write(line)
        number, size = kept_in_all()
        if number:
            self.stdout.write(f"Kept, whatever the rules say: {number:,} media, {size_words(size)}.")
        if settings.RETAIN_CAPTURES_DAYS:
            would = "would go" if is_dry else "are removed"
            days = settings.RETAIN_CAPTURES_DAYS
            self.stdout.write(f"Records of captures older than {days:,} days: {outcome.captures:,} {would}.")
        if is_dry and (outcome.summary.total.media or outcome.captures):
            self.stdout.write("Nothing is changed. The workers remove it within the hour; --delete removes it now.")


def _would() -> Outcome:
    plan = Plan(now())
    summary = Summary.of(plan.going())
    return Outcome(summary, captures_to_go(), plan.shortfalls)


def _table(summary: Summary) -> list[str]:
    """In columns as wide as what is in them."""
    names = _names(summary)
    parts = sorted(summary.parts.items(), key=lambda part: (names[part[0][0]].casefold(), part[0][1]))
    rows = [HEAD, *((names[camera], rule, *_cells(tally)) for (camera, rule), tally in parts)]
    if len(parts) > 1:
        rows.append(("in all", "", *_cells(summary.total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if n < LEFT else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _names(summary: Summary) -> dict[int | None, str]:
    keys = {camera_id for camera_id, _ in summary.parts if camera_id}
    found = Camera.objects.in_bulk(keys)
    return {None: "no camera", **{key: found[key].name if key in found else f"camera {key}" for key in keys}}


def _cells(tally: Tally) -> tuple[str, ...]:
    counts = (tally.to_review, tally.failed, tally.not_looked_at)
    times = (_time(tally.oldest), _time(tally.newest))
    return (f"{tally.media:,}", size_words(tally.bytes), *times, *(f"{count:,}" for count in counts))


def _time(moment: datetime | None) -> str:
    return timezone.localtime(moment).strftime("%Y-%m-%d %H:%M") if moment else ""


def _facts(outcome: Outcome, *, is_dry: bool) -> dict[str, Any]:
    names = _names(outcome.summary)
    number, size = kept_in_all()
    return {
        "dry_run": is_dry,
        "parts": [
            {"camera": {"id": camera, "name": names[camera]} if camera else None, "rule": rule, **_numbers(tally)}
            for (camera, rule), tally in outcome.summary.parts.items()
        ],
        "in_all": _numbers(outcome.summary.total),
        "kept": {"media": number, "bytes": size},
        "captures": outcome.captures,
        "warnings": [sentence(shortfall) for shortfall in outcome.shortfalls],
    }


def _numbers(tally: Tally) -> dict[str, Any]:
    return {
        "media": tally.media,
        "bytes": tally.bytes,
        "oldest": tally.oldest and tally.oldest.isoformat(),
        "newest": tally.newest and tally.newest.isoformat(),
        "to_review": tally.to_review,
        "failed": tally.failed,
        "not_looked_at": tally.not_looked_at,
    }
