"""The filter of the list of cameras."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import QueryDict

from detection.models import Camera

STATES = [
    ("", "any"),
    ("trouble", "in trouble"),
    ("ok", "ok"),
    ("failing", "failing"),
    ("offline", "offline"),
    ("frozen", "frozen"),
    ("new", "waits for its first picture"),
    ("disabled", "paused"),
]


class CameraFilter(forms.Form):
    name = forms.CharField(required=False, max_length=100)
    state = forms.ChoiceField(
        choices=STATES,
        required=False,
        error_messages={"invalid_choice": "There is no such state. Choose one of the list."},
    )

    def __init__(self, data: QueryDict) -> None:
        super().__init__(data, auto_id="filter-%s", label_suffix="")

    @property
    def given(self) -> dict[str, Any]:
        """The fields that are right. Those with an error are left out, and the page says so."""
        self.is_valid()
        return self.cleaned_data

    @property
    def is_narrowed(self) -> bool:
        return any(self.given.values())

    def sentences(self) -> list[str]:
        """What is wrong, in the order of the fields."""
        return [str(sentence) for errors in self.errors.values() for sentence in errors]

    def narrow(self, cameras: QuerySet[Camera]) -> QuerySet[Camera]:
        name, state = self.given.get("name"), self.given.get("state")
        if name:
            cameras = cameras.filter(name__icontains=name)
        if state == "trouble":
            return cameras.filter(state__in=Camera.IN_TROUBLE)
        return cameras.filter(state=state) if state else cameras
