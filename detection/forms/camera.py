"""The form for a camera: its source, an address that is never shown again, and its schedule."""

from __future__ import annotations

from typing import Any

from django import forms
from django.conf import settings

from detection.forms.fields import DaysField, GigabytesField, TimeZoneInput
from detection.forms.source import SOURCE_FIELDS, SourceForm
from detection.models import Camera
from detection.models.retention import MOST_DAYS, days_words, size_words
from detection.schedule import Kind, Schedule

SCHEDULE_FIELDS = {
    "every": ("every_s",),
    "cron": ("cron",),
    "sun": ("sunrise_offset_min", "sunset_offset_min", "latitude", "longitude"),
}
MOST_IDENTICAL = 100_000
ALL_SCHEDULES = ("time_zone", "days", "active_from", "active_until", "jitter_s")


class CameraForm(SourceForm):
    """What a person enters for a camera. ``save`` is ``Camera.put_in_service``."""

    days = DaysField(label="Days", initial=Camera._meta.get_field("days").get_default())
    retain_days = forms.IntegerField(
        label="Keep its pictures for so many days",
        required=False,
        min_value=1,
        max_value=MOST_DAYS,
        error_messages={
            "invalid": "The days for which pictures are kept are a whole number. Write it as 30.",
            "min_value": "Pictures must be kept for at least 1 day. Leave it empty for no limit of its own.",
            "max_value": f"Pictures can be kept for at most {MOST_DAYS:,} days. "
            "Leave it empty for no limit of its own.",
        },
    )
    retain_bytes = GigabytesField(
        label="At most so many GB of them",
        required=False,
        least="0.1",
        most="1000000",
        error_messages={
            "invalid": "The GB of pictures that are kept are a number. Write it as 5 or 0.5.",
            "min_value": "At least 0.1 GB of pictures must be kept. Leave it empty for no limit of its own.",
            "max_value": "At most 1,000,000 GB of pictures can be kept. Leave it empty for no limit of its own.",
        },
    )

    class Meta:
        model = Camera
        fields = [
            "name", "source", "rtsp_transport", "verify_tls",
            "schedule", "every_s", "cron", "sunrise_offset_min", "sunset_offset_min", "latitude", "longitude",
            "time_zone", "days", "active_from", "active_until", "jitter_s", "is_analysed", "frozen_after",
            "retain_days", "retain_bytes",
        ]  # fmt: skip
        labels = {
            "source": "Kind of camera",
            "rtsp_transport": "RTSP over",
            "verify_tls": "Check the certificate",
            "is_analysed": "Look for objects in its pictures",
            "schedule": "Take a picture",
            "every_s": "Seconds between two pictures",
            "sunrise_offset_min": "Minutes after sunrise",
            "sunset_offset_min": "Minutes after sunset",
            "active_from": "From",
            "active_until": "Until",
            "jitter_s": "Spread, in seconds",
            "frozen_after": "Identical pictures until it counts as frozen",
        }
        help_texts = {
            "rtsp_transport": "TCP is right for nearly all cameras.",
            "verify_tls": "Of https and rtsps. Off only for a camera that signed its own.",
            "every_s": "At least 2. 60 is a picture a minute, 3600 one an hour.",
            "cron": "Minute, hour, day of the month, month, day of the week. “*/15 6-20 * * 1-5” is every 15 minutes "
            "from 6:00 to 20:45, Monday to Friday.",
            "sunrise_offset_min": "0: at sunrise. Below 0: before it. Empty: not at sunrise.",
            "sunset_offset_min": "0: at sunset. Below 0: before it. Empty: not at sunset.",
            "active_from": "Empty: all day.",
            "active_until": "Earlier than “From”: over midnight.",
            "jitter_s": "Each picture comes later by a random part of this. 0: on the dot.",
            "time_zone": "The clock that the schedule goes by.",
            "frozen_after": "A camera that gives the very same picture again and again hangs. 0: never.",
            "is_analysed": "Off: its pictures are stored, and nothing is looked for in them.",
        }
        error_messages = {
            "name": {
                "required": "Give the camera a name.",
                "unique": "There is a camera of this name already. Choose another.",
                "max_length": "The name is longer than 100 characters.",
            },
            "source": {
                "required": "Choose what kind of camera it is.",
                "invalid_choice": "There is no such kind of camera. Choose one of the list.",
            },
            "schedule": {
                "required": "Choose when pictures are taken.",
                "invalid_choice": "There is no such schedule. Choose one of the list.",
            },
            "time_zone": {"required": "Enter a time zone, such as Europe/Berlin or UTC."},
            "every_s": {
                "required": "Enter the seconds between two pictures.",
                "invalid": "The seconds between two pictures are a whole number. Write it as 60.",
                "min_value": "The seconds between two pictures must be at least 2.",
            },
            "sunrise_offset_min": {"invalid": "The minutes after sunrise are a whole number, such as -30 or 0."},
            "sunset_offset_min": {"invalid": "The minutes after sunset are a whole number, such as -30 or 0."},
            "latitude": {"invalid": "The latitude is a number of degrees. Write it as 52.52."},
            "longitude": {"invalid": "The longitude is a number of degrees. Write it as 13.40."},
            "jitter_s": {
                "invalid": "The spread is a whole number of seconds. Write it as 5.",
                "min_value": "The spread must be at least 0 seconds.",
            },
            "frozen_after": {
                "invalid": "The number of identical pictures is a whole number. Write it as 5, or as 0 for never.",
                "min_value": "The number of identical pictures must be at least 0, which stands for never.",
            },
            "active_from": {"invalid": "“From” is not a time of day. Write it as 06:30."},
            "active_until": {"invalid": "“Until” is not a time of day. Write it as 21:00."},
        }
        widgets = {
            "source": forms.RadioSelect,
            "schedule": forms.RadioSelect,
            "time_zone": TimeZoneInput,
            "cron": forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
            "every_s": forms.NumberInput(attrs={"min": "2"}),
            "latitude": forms.NumberInput(attrs={"step": "any", "placeholder": "52.52"}),
            "longitude": forms.NumberInput(attrs={"step": "any", "placeholder": "13.40"}),
            "active_from": forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
            "active_until": forms.TimeInput(format="%H:%M", attrs={"type": "time"}),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        if not self.instance.pk:
            self.initial["time_zone"] = settings.TIME_ZONE
        # Which of them is needed follows from the schedule, and an empty one may be out of sight.
        for name in ("every_s", "jitter_s", "frozen_after"):
            if name in self.fields:
                self.fields[name].required = False
        for name, of_all in (("retain_days", _days_of_all()), ("retain_bytes", _bytes_of_all())):
            if name in self.fields:
                self.fields[name].help_text = of_all

    def clean(self) -> dict[str, Any]:
        given = super().clean()
        chosen = given.get("schedule", "")
        for kind, names in SCHEDULE_FIELDS.items():
            if chosen and kind != chosen:
                for name in names:
                    self.ignore(name)
        for name in ("jitter_s", "frozen_after"):
            if name not in self.errors and given.get(name) is None:
                given[name] = 0
        if "frozen_after" not in self.errors and given["frozen_after"] > MOST_IDENTICAL:
            self.add_error("frozen_after", f"The number of identical pictures must be at most {MOST_IDENTICAL:,}.")
        if chosen == "every" and given.get("every_s") is None and "every_s" not in self.errors:
            self.add_error("every_s", self.Meta.error_messages["every_s"]["required"])
        if chosen:
            self._judge_schedule(chosen, given, (*ALL_SCHEDULES, *SCHEDULE_FIELDS[chosen]))
        return given

    def _judge_schedule(self, kind: Kind, given: dict[str, Any], judged: tuple[str, ...]) -> None:
        """Asks the rule itself, so that nothing is accepted here that cannot be run there.

        For a field that is wrong already the stored value stands in, so that all mistakes are told at once.
        """
        wrong = set(self.errors)
        values = {name: getattr(self.instance, name) if name in wrong else given[name] for name in judged}
        values["days"] = frozenset(int(day) for day in values["days"])
        rule = Schedule(kind=kind, seed=self.instance.pk or 0, **values)
        for name, sentence in rule.problems().items():
            if name not in wrong:
                self.add_error(name if name in self.fields else None, sentence)

    def sentences(self) -> list[tuple[str, str]]:
        """What is wrong, each with the id of its field, in the order of the page."""
        order = ["name", *SOURCE_FIELDS, *self.fields]
        found = [(order.index(name) if name in order else -1, name) for name in self.errors]
        return [
            (f"id_{name}_0" if name in ("source", "schedule", "days") else f"id_{name}", str(sentence))
            for _, name in sorted(found)
            for sentence in self.errors[name]
        ]

    @property
    def more_is_open(self) -> bool:
        """Whether the days and hours are to be seen at once: where they are not what they are at first, or wrong."""
        at_first = Camera()
        names = ("days", "active_from", "active_until", "jitter_s")
        return any(name in self.errors or getattr(self.instance, name) != getattr(at_first, name) for name in names)

    @property
    def connection_is_open(self) -> bool:
        is_usual = self.instance.rtsp_transport == "tcp" and self.instance.verify_tls
        return not is_usual or bool({"rtsp_transport", "verify_tls"} & self.errors.keys())


def _days_of_all() -> str:
    days = settings.RETAIN_DAYS
    of_all = f"For all cameras: {days_words(days)}; only less has an effect." if days else "For all cameras: for ever."
    return f"From when they came in. Empty: as long as all others. {of_all}"


def _bytes_of_all() -> str:
    size = settings.RETAIN_BYTES
    of_all = f" All media together: {size_words(size)}." if size else ""
    return f"Beyond that the oldest go. Empty: no limit of its own.{of_all}"
