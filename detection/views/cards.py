"""Sightings as cards, on the lists of them.

A page has 48, and drawing them takes longer than all else of it. A card is drawn from a value that holds all it shows,
so one that was drawn before with the very same is not drawn again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.middleware.csrf import get_token
from django.template.loader import render_to_string
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

from detection.models import Media, Sighting
from detection.schedule import zone_of
from detection.templatetags.nightjar import colour, percent, review_badge
from detection.views.addresses import address
from detection.views.wording import clip_time, wall_clock

# What differs from answer to answer takes the place of these; nobody can guess them, and write them into a name.
CSRF_MARK, BACK_MARK = (f"mark-{secrets.token_hex(8)}" for _ in range(2))
KEPT = 2048  # drawn cards, of about 2 kB


@dataclass(frozen=True, slots=True)
class Card:
    """What a card shows."""

    pk: str
    link: str  # to it on the page of its media
    thumbnail: str
    colour: str
    label: str
    score: str
    review: str
    badge: SafeString
    keeps_media: bool
    source: str  # the media, the time in it, the camera
    when: SafeString
    verdict_url: str
    undo_url: str


def for_cards(rows: QuerySet[Sighting]) -> QuerySet[Sighting, Any]:
    """What the cards of these rows show, as plain values: rows of four tables take twice as long to be made."""
    return rows.values_list(
        "pk", "media_id", "shown_label", "score", "start_s", "at", "thumbnail", "verdict__kind", "verdict__keeps_media",
        "media__name", "media__kind", "media__captured_at", "media__created_at", "media__camera__name",
        "media__camera__time_zone", named=True,
    )  # fmt: skip


def draw(request: HttpRequest, rows: Iterable[Any], *, can_judge: bool, back: str = "") -> SafeString:
    """The cards of what ``for_cards`` found; ``back`` is where a verdict without JavaScript leads."""
    cards = "".join(_drawn(row, can_judge) for row in rows)
    if can_judge:
        token = format_html('<input type="hidden" name="csrfmiddlewaretoken" value="{}">', get_token(request))
        cards = cards.replace(CSRF_MARK, token).replace(BACK_MARK, escape(back))
    return mark_safe(cards)  # noqa: S308 - templates have drawn it


@lru_cache(KEPT)
def _drawn(row: Any, can_judge: bool) -> str:
    context = {"card": _card(row), "can_judge": can_judge, "csrf_input": CSRF_MARK, "back": BACK_MARK}
    return render_to_string("detection/_sighting_card.html", context)


def _card(row: Any) -> Card:
    pk = str(row.pk)
    is_clip = row.media__kind == Media.Kind.CLIP
    source = f"{row.media__name} at {clip_time(row.start_s)}" if is_clip else row.media__name
    zone = zone_of(row.media__camera__time_zone) if row.media__camera__name else None
    moment = row.at if row.media__captured_at else row.media__created_at
    when = format_html('<time datetime="{}">{}</time>', moment.isoformat(), wall_clock(moment, zone))
    return Card(
        pk=pk,
        link=f"{address('media', row.media_id)}?sighting={pk}#sighting-{pk}",
        thumbnail=address("sighting_thumbnail", row.pk) if row.thumbnail else "",
        colour=colour(row.shown_label),
        label=row.shown_label,
        score=percent(row.score),
        review=row.verdict__kind or "",
        badge=review_badge(row.verdict__kind or ""),
        keeps_media=bool(row.verdict__keeps_media),
        source=f"{source} · {row.media__camera__name}" if row.media__camera__name else source,
        when=when if row.media__captured_at else format_html("came in {}", when),
        verdict_url=address("verdict", row.pk),
        undo_url=address("undo", row.pk),
    )
