"""The filter of the list of cameras."""

from __future__ import annotations

from django import forms
from django.db.models import QuerySet

from detection.forms.filters import ListFilter
from detection.models import Camera

STATES = [("", "any"), ("trouble", "in trouble"), *Camera.State.choices]


class CameraFilter(ListFilter):
    name = forms.CharField(required=False, max_length=100)
    state = forms.ChoiceField(
        choices=STATES,
        required=False,
        error_messages={"invalid_choice": "There is no such state. Choose one of the list."},
    )

    def narrow(self, cameras: QuerySet[Camera]) -> QuerySet[Camera]:
        name, state = self.given.get("name"), self.given.get("state")
        if name:
            cameras = cameras.filter(name__icontains=name)
        if state == "trouble":
            return cameras.filter(state__in=Camera.IN_TROUBLE)
        return cameras.filter(state=state) if state else cameras
