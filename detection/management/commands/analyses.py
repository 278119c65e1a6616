"""`manage.py analyses`: lists them, cancels and retries them, one and many at a time."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import Max, QuerySet
from django.http import QueryDict

from detection.forms.analysis_filter import STATES, AnalysisFilter
from detection.models import Analysis, Camera, Model
from detection.models.failures import NO_KIND, by_kind, of_kind, to_do
from detection.models.forecast import Forecast, forecasts, waiting
from detection.views.analysis_wording import kind_words, progress_words
from detection.views.wording import counted, wall_clock
from workers.tasks import send_analysis

AWAY = "The queue cannot be reached just now: it is sent as soon as that is back."
STATE_NAMES = [state for state, _ in STATES if state]


class Command(BaseCommand):
    help = (
        "List analyses, show one, cancel and retry them. Exit code 1 where an analysis does not exist or nothing could "
        "be done."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--state", choices=STATE_NAMES, help="only these; “history”: failed, but run again since")
        parser.add_argument("--kind", help="only those with this kind of error, such as storage")
        parser.add_argument("--media", metavar="NAME", help="only of media with this in their name")
        parser.add_argument("--limit", type=int, default=50, help="at most so many, the newest first; default: 50")
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        actions = parser.add_subparsers(dest="action", metavar="[show|cancel|retry]")
        show = actions.add_parser("show", help="all about one")
        show.add_argument("number", type=int, metavar="NUMBER")
        show.add_argument("--json", action="store_true", help="as a JSON object")
        cancel = actions.add_parser("cancel", help="stop some, or all that nobody has begun with")
        cancel.add_argument("numbers", type=int, nargs="*", metavar="NUMBER")
        cancel.add_argument("--all-waiting", action="store_true", help="all that wait; what runs goes on")
        retry = actions.add_parser("retry", help="open some again that failed or were cancelled, or all that failed")
        retry.add_argument("numbers", type=int, nargs="*", metavar="NUMBER")
        retry.add_argument("--failed", action="store_true", help="all that failed and were not run again since")
        retry.add_argument("--kind", help="with --failed: only those with this kind of error")

    def handle(self, *, action: str | None, **options: Any) -> None:
        if action == "show":
            self._show(_one(options["number"]), as_json=options["json"])
        elif action == "cancel":
            self._cancel(options["numbers"], all_waiting=options["all_waiting"])
        elif action == "retry":
            self._retry(options["numbers"], failed=options["failed"], kind=options["kind"])
        else:
            self._list(options)

    def _list(self, options: dict[str, Any]) -> None:
        if options["limit"] < 1:
            raise CommandError("--limit must be at least 1.")
        asked = {"state": options["state"], "kind": options["kind"], "name": options["media"]}
        query = QueryDict(mutable=True)
        query.update({name: value for name, value in asked.items() if value})
        form = AnalysisFilter(query, cameras=Camera.objects.none(), models=Model.objects.none())
        if not form.is_valid():
            raise CommandError(" ".join(form.sentences()))
        rows = form.narrow(Analysis.objects.all()).select_related("media", "model").order_by("-pk")
        found = list(rows[: options["limit"]])
        ahead = forecasts(found)
        for analysis in found:
            if options["json"]:
                self.stdout.write(json.dumps(_facts(analysis, ahead.get(analysis.pk))))
            else:
                self.stdout.write(_line(analysis, ahead.get(analysis.pk)))
        if not found and not options["json"]:
            self.stdout.write("There are no such analyses." if query else "There are no analyses yet.")

    def _show(self, analysis: Analysis, *, as_json: bool) -> None:
        facts = _facts(analysis, forecasts([analysis]).get(analysis.pk))
        if as_json:
            self.stdout.write(json.dumps(facts, indent=2))
            return
        for name, value in {**facts, "requested_at": wall_clock(analysis.requested_at)}.items():
            if value not in (None, ""):
                self.stdout.write(f"{name.replace('_', ' '):14} {value}")
        if analysis.error_detail:
            self.stdout.write(f"technical detail:\n{analysis.error_detail.rstrip()}")

    def _cancel(self, numbers: list[int], *, all_waiting: bool) -> None:
        if bool(numbers) == all_waiting:
            raise CommandError("Say which: their numbers, or --all-waiting.")
        if all_waiting:
            done = Analysis.cancel_many(Analysis.objects.filter(waiting()))
            self._tell_all(done, "cancelled", "Nothing waits, so there is nothing to cancel.")
        else:
            self._each(numbers, Analysis.cancel_many, _was_cancelled, "is cancelled", "there is nothing to cancel")

    def _retry(self, numbers: list[int], *, failed: bool, kind: str | None) -> None:
        if bool(numbers) == failed:
            raise CommandError("Say which: their numbers, or --failed.")
        if kind and not failed:
            raise CommandError("--kind goes with --failed.")
        if failed:
            rows = to_do(Analysis.objects.all())
            rows = of_kind(rows, kind) if kind else rows
            self._tell_all(self._opened(rows), "tried again", _no_failures(kind))
        else:
            self._each(numbers, self._opened, _was_closed, "is tried again", "there is nothing to retry")

    def _opened(self, rows: QuerySet[Analysis]) -> int:
        unsent = []

        def send(analysis: Analysis) -> bool:
            is_sent = send_analysis(analysis)
            unsent.extend([] if is_sent else [analysis])
            return is_sent

        opened = Analysis.retry_many(rows, send)
        if unsent:
            self.stderr.write(AWAY)
        return opened

    def _each(
        self,
        numbers: list[int],
        verb: Callable[[QuerySet[Analysis]], int],
        was_acted_on: Callable[[str, str], bool],
        done: str,
        nothing: str,
    ) -> None:
        """Acts on all at once, then says a sentence for each; ends with 1 where one is unknown, or none was acted on.

        ``was_acted_on`` answers by the states of one before and after.
        """
        rows = Analysis.objects.filter(pk__in=numbers)
        before = dict(rows.values_list("pk", "state"))
        verb(rows)
        after = rows.select_related("media").defer("error_detail").in_bulk()
        acted = {pk for pk, row in after.items() if pk in before and was_acted_on(before[pk], row.state)}
        for number in dict.fromkeys(numbers):
            if number not in after:
                self.stderr.write(f"There is no analysis {number}.")
            elif number in acted:
                self.stdout.write(f"{after[number]} {done}.")
            else:
                self.stderr.write(f"{after[number]} is {after[number].state}: {nothing}.")
        if not acted or after.keys() < set(numbers):
            sys.exit(1)

    def _tell_all(self, done: int, what: str, none: str) -> None:
        if not done:
            raise CommandError(none)
        self.stdout.write(f"{counted(done, 'analysis is', 'analyses are')} {what}.")


def _one(number: int) -> Analysis:
    analysis = Analysis.objects.select_related("media", "model").filter(pk=number).first()
    if analysis is None:
        raise CommandError(f"There is no analysis {number}.")
    return analysis


def _was_cancelled(before: str, after: str) -> bool:
    return after == Analysis.State.CANCELLED != before


def _was_closed(before: str, after: str) -> bool:
    """Whatever it is by now: it may have failed again already."""
    return before in (Analysis.State.FAILED, Analysis.State.CANCELLED)


def _no_failures(kind: str | None) -> str:
    kinds = ", ".join(f"{one.kind} ({one.count})" for one in by_kind(Analysis.objects.all()))
    if kind and kinds:
        return f"No analysis failed with “{kind}”. There are: {kinds}."
    return "No analysis failed, so there is nothing to retry."


def _line(analysis: Analysis, forecast: Forecast | None) -> str:
    said = progress_words(analysis, forecast)
    if analysis.state == Analysis.State.FAILED:
        said = f"[{analysis.error_kind or NO_KIND}] {analysis.error}"
    return f"{analysis.pk:>7} {analysis.state:10} {analysis.model.name:16} {analysis.media.name}  {said}".rstrip()


def _facts(analysis: Analysis, forecast: Forecast | None) -> dict[str, Any]:
    chunks = analysis.chunks.aggregate(most=Max("attempts"))
    frames = forecast.frames if forecast else analysis.frames_read
    return {
        "id": analysis.pk,
        "media": analysis.media.name,
        "sha256": analysis.media.sha256,
        "model": analysis.model.name,
        "state": analysis.state,
        "step": "" if analysis.is_over else analysis.step,
        "lane": analysis.lane,
        "attempts": max(analysis.attempts, chunks["most"] or 0),
        "requested_at": analysis.requested_at.isoformat(),
        "frames": frames,
        "frames_planned": analysis.frames_planned,
        "frames_a_s": forecast and forecast.rate and round(forecast.rate, 1),
        "left_s": forecast and forecast.left_s and round(forecast.left_s, 1),
        "place": forecast and forecast.place,
        "begins_in_s": forecast and forecast.begins_s and round(forecast.begins_s, 1),
        "error_kind": analysis.error_kind,
        "what_failed": kind_words(analysis.error_kind) if analysis.error_kind else "",
        "error": analysis.error,
    }
