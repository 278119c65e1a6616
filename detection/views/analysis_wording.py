"""How far an analysis is, how long it takes, and what went wrong with it, as it is said to people."""

from __future__ import annotations

from django.template.defaultfilters import filesizeformat

from detection.models import Analysis
from detection.models.forecast import Backlog, Forecast
from detection.models.speed import Speed
from detection.views.wording import counted

# What an error kind means for many at once; a kind that is not here is shown as it is.
KINDS = {
    "detector": "the detector could not look",
    "memory": "not enough memory",
    "no_video": "files without video",
    "storage": "files that the storage did not give",
    "too_large": "pictures that are too large",
    "too_long": "files that took too long",
    "truncated": "files that are cut off",
    "unexpected": "something unexpected",
    "unknown_format": "files of another format",
    "unreadable": "damaged files",
    "worker_lost": "files that killed their worker",
    "-": "no kind on record",
}


def kind_words(kind: str) -> str:
    return KINDS.get(kind, kind)


def about(seconds: float) -> str:
    """3 s, 50 s, 4 minutes, 1.5 hours, 3 days: no more exact than an estimate is."""
    if seconds < 10:
        return f"{max(1, round(seconds))} s"
    if seconds < 87.5:
        return f"{5 * round(seconds / 5)} s"
    if seconds < 5400:
        return counted(max(2, round(seconds / 60)), "minute")
    if seconds < 129_600:
        return f"{seconds / 3600:.1f}".removesuffix(".0") + " hours"
    return counted(round(seconds / 86_400), "day")


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 1,021st"""
    last = 0 if number % 100 in (11, 12, 13) else number % 10
    return f"{number:,}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(last, 'th') }"


def rate_words(rate: float) -> str:
    """118 a second, 3.4 a second"""
    return f"{rate:,.0f} a second" if rate >= 9.95 else f"{rate:.1f} a second"


def progress_words(analysis: Analysis, forecast: Forecast | None) -> str:
    """A sentence on an analysis that is not over; nothing where its state says it all."""
    if forecast is None or analysis.is_over:
        return ""
    if forecast.place is not None:
        return _queue_words(analysis, forecast)
    if forecast.planned > 1 and analysis.step != Analysis.Step.PLAN:
        return _frames_words(forecast)
    return ""


def _queue_words(analysis: Analysis, forecast: Forecast) -> str:
    if forecast.place == 1:
        if analysis.state == Analysis.State.QUEUED and analysis.sent_at is None:
            return "It is accepted and waits for the queue."
        return "It is next in the queue and starts as soon as a worker is free."
    place = f"It is {ordinal(forecast.place or 0)} in the queue"
    if forecast.begins_s is None:
        return f"{place}; how long that takes was not measured here yet."
    return f"{place}, about {about(forecast.begins_s)} until it begins."


def _frames_words(forecast: Forecast) -> str:
    said = [f"{forecast.frames:,} of {counted(forecast.planned, 'frame')}"]
    if forecast.rate is not None and forecast.left_s is not None:
        said += [rate_words(forecast.rate), f"about {about(forecast.left_s)} left"]
    return f"{', '.join(said)}."


# Before an upload


def speed_words(speed: Speed) -> str:
    """How long a minute of clip and a hundred pictures take here."""
    clip = "" if speed.clip_s is None else f"a minute of clip takes about {about(60 * speed.clip_s)}"
    nominal = " (as measured when the model was added)" if speed.is_image_nominal else ""
    images = "" if speed.image_s is None else f"100 pictures about {about(100 * speed.image_s)}{nominal}"
    if clip and images:
        return f"Here {clip}, {images}."
    if clip:
        return f"Here {clip}. How long pictures take was not measured yet."
    if images:
        return f"Here {images.replace(' about', ' take about', 1)}. How long clips take was not measured yet."
    return "How long that takes here was not measured yet: nothing was analysed with this model."


def backlog_words(backlog: Backlog) -> str:
    """What is to be done before a file that comes in now."""
    if not backlog.count:
        return "Nothing waits: it begins at once."
    waits = f"{counted(backlog.count, 'analysis', 'analyses')} {'waits' if backlog.count == 1 else 'wait'} or "
    waits += f"{'runs' if backlog.count == 1 else 'run'} before"
    return f"{waits}." if backlog.seconds is None else f"{waits}: about {about(backlog.seconds)}."


def estimate_words(seconds: float | None) -> str:
    """How long the chosen files take, once they are up."""
    if seconds is None:
        return "How long their analysis takes here was not measured yet."
    return f"Their analysis takes about {about(seconds)} here."


def room_words(room: int | None) -> str:
    """What the disk will hold; nothing where nobody knows."""
    if room is None:
        return ""
    if not room:
        return "There is no room on the disk for new files: they would be refused."
    return f"There is room for {filesizeformat(room)} of new files."


def no_room_words(size: str, room: int | None) -> str:
    """That the chosen files do not fit."""
    if not room:
        return room_words(0)
    return f"These are {size}, and the disk has room for {filesizeformat(room)}: what does not fit will be refused."
