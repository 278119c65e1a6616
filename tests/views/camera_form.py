"""Entering a camera and changing it, as a browser does."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from detection.models import Camera, Trial
from detection.sources import Source, SourceKind
from tests.cast import SECRET, TYPED, a_user

RTSP = TYPED | {"source": "rtsp", "address": "rtsp://10.0.0.9:554/stream1"}
STREAM = f"rtsp://viewer:{SECRET}@10.0.0.9:554/stream1"


def add(client: Client, **changes: Any) -> Any:
    return client.post("/cameras/new", RTSP | changes)


def change(client: Client, camera: Camera, **changes: Any) -> Any:
    kept = {"name": camera.name, "source": camera.source, "address": "", "username": "", "password": ""}
    return client.post(f"/cameras/{camera.pk}/edit", TYPED | kept | changes)


def a_trial(address: str = STREAM, kind: SourceKind = "rtsp", user: str = "") -> Trial:
    asked_by = User.objects.filter(username=user or "the operator").first() or a_user("operator")
    return Trial.ask(Source(kind, address), asked_by)


def said(answer: Any) -> list[str]:
    assert answer.status_code == 422
    return [sentence for _, sentence in answer.context["form"].sentences()]


class Controls(HTMLParser):
    """What a browser would send of a page's form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.given: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        has = dict(attrs)
        if tag == "option" and "selected" in has:  # the page has one list to choose from
            self.given["rtsp_transport"] = [has["value"] or ""]
        kind = has.get("type", "text")
        if tag != "input" or not has.get("name") or (kind in ("radio", "checkbox") and "checked" not in has):
            return
        self.given.setdefault(has["name"] or "", []).append(has.get("value", "on" if kind == "checkbox" else "") or "")
