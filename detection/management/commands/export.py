"""`manage.py export`: stored results as JSON, one a line."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from detection.models import Analysis
from detection.models.export import exported


class Command(BaseCommand):
    help = "Print stored results as JSON, one analysis a line: those of the given numbers, or each media's current one."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("analyses", nargs="*", type=int, metavar="N", help="default: all current ones")

    def handle(self, *, analyses: list[int], **options: Any) -> None:
        rows = Analysis.objects.select_related("media", "model").order_by("pk")
        found = rows.filter(pk__in=analyses) if analyses else rows.filter(is_current=True)
        missing = set(analyses) - set(found.values_list("pk", flat=True)) if analyses else set()
        if missing:
            raise CommandError(f"There is no analysis {', '.join(map(str, sorted(missing)))}.")
        for analysis in found.iterator(chunk_size=100):
            self.stdout.write(json.dumps(exported(analysis)))
