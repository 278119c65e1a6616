"""The filters of the lists. Every mistake is a sentence; what is right about the rest still counts."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any, cast

from django import forms
from django.db.models import Exists, OuterRef, Q, QuerySet, Subquery
from django.http import QueryDict
from django.utils import timezone

from detection.forms.fields import RowField
from detection.models import Analysis, Camera, Media, Sighting, Verdict
from detection.models.retention import kept

STATES = [
    ("", "any"),
    ("open", "waiting or running"),
    ("found", "something found"),
    ("empty", "nothing found"),
    ("failed", "failed"),
    ("cancelled", "cancelled"),
]
REVIEWS = [
    ("", "any"),
    ("todo", "not reviewed"),
    ("confirmed", "confirmed"),
    ("rejected", "rejected"),
    ("relabelled", "relabelled"),
]


class ListFilter(forms.Form):
    """A filter takes what is right of an address's query, and says the rest."""

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, auto_id="filter-%s", label_suffix="")

    def offer(self, name: str, rows: QuerySet[Any]) -> None:
        """The rows that a ``RowField`` lets one choose from."""
        cast(RowField, self.fields[name]).queryset = rows

    def sentences(self) -> list[str]:
        """What is wrong, in the order of the fields."""
        return [str(sentence) for errors in self.errors.values() for sentence in errors]

    @property
    def is_narrowed(self) -> bool:
        return any(value not in (None, "") for value in self.given.values())

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are right. Those with an error are left out, and the page says so."""
        self.is_valid()
        return self.cleaned_data


class Filter(ListFilter):
    """What the lists of media and of sightings can be narrowed by."""

    label = forms.CharField(required=False, max_length=100)
    camera = RowField("camera")
    since = forms.DateField(
        label="From",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": "“From” is not a date. Write it as 2026-03-01."},
    )
    until = forms.DateField(
        label="To",
        required=False,
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": "“To” is not a date. Write it as 2026-03-31."},
    )

    def __init__(self, data: QueryDict, cameras: QuerySet[Camera]) -> None:
        super().__init__(data)
        self.offer("camera", cameras)
        self.fields["label"].widget.attrs["list"] = "labels"

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        for field, word in (("since", "From"), ("until", "To")):
            if given.get(field) and not 1970 <= given[field].year <= 2999:
                self.add_error(field, f"“{word}” must lie between the years 1970 and 2999.")
        since, until = given.get("since"), given.get("until")
        if since and until and since > until:
            self.add_error("until", "“To” lies before “From”. Swap the two dates.")
        return given

    def _dates(self, field: str) -> Q:
        """Days are those of the site's time zone, both ends included."""
        chosen = Q()
        if since := self.given.get("since"):
            chosen &= Q(**{f"{field}__gte": timezone.make_aware(datetime.combine(since, time.min))})
        if until := self.given.get("until"):
            chosen &= Q(**{f"{field}__lte": timezone.make_aware(datetime.combine(until, time.max))})
        return chosen


class MediaFilter(Filter):
    name = forms.CharField(required=False, max_length=255)
    state = forms.ChoiceField(
        choices=STATES,
        required=False,
        error_messages={"invalid_choice": "There is no such state. Choose one of the list."},
    )
    review = forms.ChoiceField(
        choices=[("", "any"), ("todo", "something to review"), ("over", "all reviewed")],
        required=False,
        error_messages={"invalid_choice": "There is no such review state. Choose one of the list."},
    )
    kept = forms.ChoiceField(
        choices=[("", "any"), ("yes", "kept"), ("no", "not kept")],
        required=False,
        error_messages={"invalid_choice": "Media are kept or not kept. Choose one of the list."},
    )
    field_order = ["name", "label", "camera", "state", "review", "kept", "since", "until"]

    def narrow(self, media: QuerySet[Media]) -> QuerySet[Media]:
        given = self.given
        media = media.filter(self._dates("at"))
        if given.get("name"):
            media = media.filter(name__icontains=given["name"])
        if given.get("camera"):
            media = media.filter(camera=given["camera"])
        if given.get("kept"):
            media = media.filter(kept() if given["kept"] == "yes" else ~kept())
        sightings = Sighting.objects.filter(Sighting.current(), media=OuterRef("pk"))
        if given.get("label"):
            media = media.filter(Exists(sightings.filter(shown_label__iexact=given["label"])))
        if given.get("review") == "todo":
            media = media.filter(Exists(sightings.filter(verdict=None)))
        if given.get("review") == "over":
            media = media.filter(Exists(sightings), ~Exists(sightings.filter(verdict=None)))
        return self._in_state(media, given.get("state", ""), sightings)

    @staticmethod
    def _in_state(media: QuerySet[Media], state: str, sightings: QuerySet[Sighting]) -> QuerySet[Media]:
        if not state:
            return media
        latest = Analysis.objects.filter(media=OuterRef("pk")).order_by("-requested_at", "-pk").values("state")[:1]
        media = media.annotate(latest_state=Subquery(latest))
        if state == "open":
            return media.filter(latest_state__in=[Analysis.State.QUEUED, Analysis.State.RUNNING])
        if state == "found":
            return media.filter(Exists(sightings), latest_state=Analysis.State.DONE)
        if state == "empty":
            return media.filter(~Exists(sightings), latest_state=Analysis.State.DONE)
        return media.filter(latest_state=state)


class SightingFilter(Filter):
    review = forms.ChoiceField(
        label="Verdict",
        choices=REVIEWS,
        required=False,
        error_messages={"invalid_choice": "There is no such verdict. Choose one of the list."},
    )
    score_min = forms.IntegerField(
        label="Score from, %",
        required=False,
        min_value=0,
        max_value=100,
        error_messages={
            "invalid": "The lowest score is not a whole number. Write one from 0 to 100.",
            "min_value": "The lowest score must be from 0 to 100.",
            "max_value": "The lowest score must be from 0 to 100.",
        },
    )
    score_max = forms.IntegerField(
        label="to, %",
        required=False,
        min_value=0,
        max_value=100,
        error_messages={
            "invalid": "The highest score is not a whole number. Write one from 0 to 100.",
            "min_value": "The highest score must be from 0 to 100.",
            "max_value": "The highest score must be from 0 to 100.",
        },
    )
    field_order = ["label", "camera", "review", "score_min", "score_max", "since", "until"]

    def clean(self) -> dict[str, Any]:
        given = super().clean()
        low, high = given.get("score_min"), given.get("score_max")
        if low is not None and high is not None and low > high:
            self.add_error("score_max", "The highest score is below the lowest. Swap the two.")
        return given

    def narrow(self, sightings: QuerySet[Sighting]) -> QuerySet[Sighting]:
        given = self.given
        sightings = sightings.filter(self._dates("at"))
        if given.get("label"):
            sightings = sightings.filter(shown_label__iexact=given["label"])
        if given.get("camera"):
            sightings = sightings.filter(media__camera=given["camera"])
        if given.get("score_min") is not None:
            sightings = sightings.filter(score__gte=given["score_min"] / 100)
        if given.get("score_max") is not None:
            sightings = sightings.filter(score__lte=given["score_max"] / 100)
        if given.get("review") == "todo":
            return sightings.filter(verdict=None)
        return sightings.filter(verdict__kind=given["review"]) if given.get("review") else sightings


class VerdictForm(forms.Form):
    """What a person says of a sighting."""

    kind = forms.ChoiceField(
        choices=[(kind.value, kind.label) for kind in Verdict.Kind if kind != Verdict.Kind.WITHDRAWN],
        error_messages={
            "required": "Say whether it is confirmed, rejected or relabelled.",
            "invalid_choice": "A sighting is confirmed, rejected or relabelled; nothing else.",
        },
    )
    label = forms.CharField(
        required=False, max_length=100, error_messages={"max_length": "A label has at most 100 letters."}
    )
    keep = forms.BooleanField(required=False, widget=forms.HiddenInput)  # which, unlike a checkbox, takes 0 for no

    def clean(self) -> dict[str, Any]:
        given = super().clean() or {}
        if given.get("kind") == Verdict.Kind.RELABELLED and not given.get("label") and "label" not in self.errors:
            self.add_error("label", "Write the new label first.")
        return given

    def sentence(self) -> str:
        return " ".join(str(sentence) for errors in self.errors.values() for sentence in errors)
