"""Fields and widgets that Django does not have."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any
from zoneinfo import available_timezones

from django import forms

AREAS = ("Africa/", "America/", "Antarctica/", "Asia/", "Atlantic/", "Australia/", "Europe/", "Indian/", "Pacific/")
DAYS = [("1", "Mon"), ("2", "Tue"), ("3", "Wed"), ("4", "Thu"), ("5", "Fri"), ("6", "Sat"), ("7", "Sun")]


GIGABYTE = 10**9


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


class RowField(forms.ModelChoiceField):
    """One of the rows that a filter offers, or any."""

    def __init__(self, what: str) -> None:
        no_such = f"There is no such {what}. Choose one of the list."
        super().__init__(None, required=False, empty_label="any", error_messages={"invalid_choice": no_such})


class DaysField(forms.MultipleChoiceField):
    """Seven checkboxes for a text such as "12345": 1 is Monday."""

    widget = forms.CheckboxSelectMultiple

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=DAYS, error_messages={"required": "Choose at least one day of the week."}, **kwargs)

    def prepare_value(self, value: Any) -> list[str]:
        return list(value or [])

    def clean(self, value: Any) -> str:
        return "".join(sorted(set(super().clean(value))))


class GigabytesField(forms.DecimalField):
    """A number of bytes, which a person reads and writes in gigabytes; None where it is left empty."""

    def __init__(self, *, least: str, most: str, **kwargs: Any) -> None:
        widget = forms.NumberInput(attrs={"step": "any", "min": least})
        super().__init__(min_value=Decimal(least), max_value=Decimal(most), widget=widget, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Of a row they are bytes; what was typed is shown again as it was typed."""
        return f"{(Decimal(value) / GIGABYTE).normalize():f}" if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        gigabytes = super().clean(value)
        return None if gigabytes is None else int(gigabytes * GIGABYTE)

    def has_changed(self, initial: Any, data: Any) -> bool:
        return super().has_changed(self.prepare_value(initial), self.prepare_value(data))
