"""Addresses of many rows: Django's ``reverse`` takes as long for each as a card takes to be drawn."""

from __future__ import annotations

from functools import cache

from django.urls import reverse

MARK = 7_777_777_777


@cache
def _around(name: str) -> tuple[str, str]:
    before, _, after = reverse(name, args=[MARK]).partition(str(MARK))
    return before, after


def address(name: str, pk: int) -> str:
    """As ``reverse(name, args=[pk])``."""
    before, after = _around(name)
    return f"{before}{pk}{after}"
