"""Fields and widgets that Django does not have."""

from __future__ import annotations

from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms

AREAS = ("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
DAYS = [("1", "Mon"), ("2", "Tue"), ("3", "Wed"), ("4", "Thu"), ("5", "Fri"), ("6", "Sat"), ("7", "Sun")]


@cache
def time_zones() -> list[str]:
    """What is offered; older names that the system knows besides are accepted too."""
    return ["UTC", *sorted(zone for zone in available_timezones() if zone.startswith(AREAS))]


class TimeZoneInput(forms.TextInput):
    """A text field that completes to the names of time zones, and takes any text without JavaScript too."""

    template_name = "detection/widgets/time_zone.html"

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context: dict[str, Any] = super().get_context(name, value, attrs)
        context["widget"]["attrs"] |= {"list": f"{name}-list", "autocomplete": "off", "spellcheck": "false"}
        return context | {"zones": time_zones()}


class DaysField(forms.MultipleChoiceField):
    """Seven checkboxes for a text such as "12345": 1 is Monday."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=DAYS, error_messages={"required": "Choose at least one day of the week."}, **kwargs)

    def prepare_value(self, value: Any) -> list[str]:
        return list(value or [])

    def clean(self, value: Any) -> str:
        return "".join(sorted(set(super().clean(value))))
