"""Visits every page of a running web process, as somebody who follows every link."""

from __future__ import annotations

import re
import time
from urllib.parse import urljoin, urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.management.base import CommandError

from detection.views.flower import SocketConnection

MOST_PAGES = 200
ANSWER_S = 60.0
LINK = re.compile(r'(?:href|src)="([^"#]+)')


def browse_everything(socket_path: str) -> int:
    """Follows all links from the first page, signed in as an administrator; answers how many pages were seen."""
    session = administrators_session()
    try:
        _wait_for(socket_path)
        seen: set[str] = set()
        waiting = ["/", "/admin/"]
        while waiting and len(seen) < MOST_PAGES:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            waiting += [link for link in _links(socket_path, path, session.session_key or "") if link not in seen]
        return len(seen)
    finally:
        session.delete()


def administrators_session(*, make: bool = False) -> SessionStore:
    """A session of the first administrator; of a new one where ``make`` allows it and there is none."""
    user = get_user_model().objects.filter(is_superuser=True, is_active=True).first()
    if user is None and make:
        user = get_user_model().objects.create_superuser("bench")
    if user is None:
        raise CommandError("There is no administrator to browse as: run `make setup` first.")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[-1]  # the first only counts failures
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    return session


def _wait_for(socket_path: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            SocketConnection(socket_path, ANSWER_S).connect()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise CommandError("The web process did not start within 30 s.")


def _links(socket_path: str, path: str, session_key: str) -> list[str]:
    """The pages of this site that a page links to. Raises CommandError where the page is broken."""
    connection = SocketConnection(socket_path, ANSWER_S)
    try:
        connection.request("GET", path, headers={"Cookie": f"{settings.SESSION_COOKIE_NAME}={session_key}"})
        answer = connection.getresponse()
        body = answer.read()
    finally:
        connection.close()
    if answer.status >= 500:
        raise CommandError(f"{path} answered {answer.status}.")
    if not (answer.getheader("Content-Type") or "").startswith("text/html"):
        return []
    found = [urljoin(path, link.replace("&amp;", "&")) for link in LINK.findall(body.decode(errors="replace"))]
    local = [link for link in found if not urlsplit(link).netloc and link.startswith("/")]
    return [link for link in dict.fromkeys(local) if "logout" not in link]
