"""The filter of the list of analyses."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from detection.forms.fields import RowField
from detection.forms.filters import ListFilter
from detection.models import Analysis, Camera, Model
from detection.models.failures import is_latest, of_kind, to_do

STATES = [
    ("", "any"),
    ("open", "waiting or running"),
    ("queued", "waiting for a worker"),
    ("running", "running"),
    ("done", "done"),
    ("failed", "failed"),
    ("history", "failed, but run again since"),
    ("cancelled", "cancelled"),
]


class AnalysisFilter(ListFilter):
    name = forms.CharField(label="Media", required=False, max_length=255)
    camera = RowField("camera")
    model = RowField("model")
    state = forms.ChoiceField(
        choices=STATES,
        required=False,
        error_messages={"invalid_choice": "There is no such state. Choose one of the list."},
    )
    # Not a ChoiceField: a kind that nobody has any more, as after a retry of all of it, is a list with nothing in it.
    kind = forms.CharField(label="What went wrong", required=False, max_length=40)

    def __init__(self, data: QueryDict, cameras: QuerySet[Camera], models: QuerySet[Model]) -> None:
        super().__init__(data)
        self.offer("camera", cameras)
        self.offer("model", models)

    def offer_kinds(self, kinds: list[tuple[str, str]]) -> None:
        """What went wrong, to choose from; with the one that was asked for, were it a wrong one."""
        asked = self.data.get("kind", "")
        more = [] if not asked or asked in dict(kinds) else [(asked, asked)]
        self.fields["kind"].widget = forms.Select(choices=[("", "any"), *kinds, *more])

    def narrow(self, analyses: QuerySet[Any]) -> QuerySet[Any]:
        given = self.given
        analyses = self.narrow_media(analyses)
        if kind := given.get("kind"):
            analyses = of_kind(analyses, kind)
        return _in_state(analyses, given.get("state", ""))

    def narrow_media(self, analyses: QuerySet[Any]) -> QuerySet[Any]:
        """By all but what came of them."""
        given = self.given
        if given.get("name"):
            analyses = analyses.filter(media__name__icontains=given["name"])
        if given.get("camera"):
            analyses = analyses.filter(media__camera=given["camera"])
        if given.get("model"):
            analyses = analyses.filter(model=given["model"])
        return analyses


def _in_state(analyses: QuerySet[Any], state: str) -> QuerySet[Any]:
    if state == "open":
        return analyses.filter(Analysis.UNFINISHED)
    if state == "failed":
        return to_do(analyses)
    if state == "history":
        return analyses.filter(~is_latest(), state=Analysis.State.FAILED)
    return analyses.filter(state=state) if state else analyses
