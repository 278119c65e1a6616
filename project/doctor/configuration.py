"""The settings: what is wrong by itself, and what does not go together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.http.request import validate_host

from project.doctor.findings import Check, Finding, error, ok, warning
from project.options import Reader

LOOPBACK = ("127.0.0.1", "localhost", "::1", "[::1]")
TOKEN_LEAST = 16


def stated() -> Iterator[Finding]:
    """Every wrong or missing setting."""
    for sentence in settings.PROBLEMS:
        yield error("settings", sentence)
    reader = Reader({})
    reader.options = settings.OPTIONS
    path = env_file()
    for sentence in reader.unknown(path):
        yield warning("settings", sentence)
    if path.is_file() and path.stat().st_mode & 0o077:
        yield warning("settings", f"Others can read {path}, which holds secrets: close it with `chmod 600 {path}`.")
    if not settings.PROBLEMS:
        yield ok("settings", f"{len(settings.OPTIONS)} read, from the environment and {path}.")


def env_file() -> Path:
    return Path(os.environ.get("NIGHTJAR_ENV_FILE") or settings.BASE_DIR / ".env")


def names() -> Iterator[Finding]:
    """Under which names, and how safely, the site is reached."""
    site = urlsplit(settings.SITE_URL)
    served_to_all = settings.HOST not in LOOPBACK
    if settings.DEBUG:
        yield warning(
            "site", "DEBUG is on: error pages show the code and its values. Set DEBUG=false for other people."
        )
    if site.scheme not in ("http", "https") or not site.hostname:
        yield error("site", f"SITE_URL must be such as https://nightjar.example.org, not “{settings.SITE_URL}”.")
    elif not validate_host(_as_host(site.hostname), settings.ALLOWED_HOSTS):
        yield warning(
            "site",
            f"ALLOWED_HOSTS lacks {site.hostname}, the host of SITE_URL: links in notifications would be refused.",
        )
    if settings.HTTPS and site.scheme == "http":
        yield warning("site", "HTTPS is set and SITE_URL begins with http://: set SITE_URL to the address people use.")
    if settings.HTTPS and not settings.TRUSTED_PROXIES:
        yield error(
            "site",
            "HTTPS is set and TRUSTED_PROXIES is not: nobody can tell that a request came through TLS, and every page "
            "would be redirected for ever. Set TRUSTED_PROXIES to the address of the proxy that ends TLS.",
        )
    if not settings.HTTPS and (given := _given_with_tls()):
        yield error(
            "site",
            f"{given} begins with https:// and HTTPS is false: log-ins would travel in cookies that also go without "
            "TLS, and forms could be refused. Set HTTPS=true, and TRUSTED_PROXIES to the proxy that ends TLS.",
        )
    if settings.TRUSTED_PROXIES and not settings.HTTPS:
        yield warning(
            "site", "TRUSTED_PROXIES is set and HTTPS is not: set HTTPS=true if the proxy is reached through TLS."
        )
    if served_to_all and not settings.HTTPS:
        yield warning(
            "site",
            f"The pages are served to the network (HOST={settings.HOST}) without TLS: passwords can be read on their "
            "way. Put a proxy with TLS in front and set HTTPS=true (deploy/README.md).",
        )
    if settings.METRICS_TOKEN and len(settings.METRICS_TOKEN) < TOKEN_LEAST:
        yield warning("site", f"METRICS_TOKEN is easy to guess: give it {TOKEN_LEAST} letters or more.")
    yield ok("site", f"{settings.SITE_URL}, reached as {', '.join(settings.ALLOWED_HOSTS)}.")


def _given_with_tls() -> str:
    """The setting that says that people come through TLS; empty where none does."""
    if settings.SITE_URL.startswith("https://"):
        return "SITE_URL"
    return "CSRF_TRUSTED_ORIGINS" if any(one.startswith("https://") for one in settings.CSRF_TRUSTED_ORIGINS) else ""


def _as_host(name: str) -> str:
    """As a browser names it: an IPv6 address in brackets."""
    return f"[{name}]" if ":" in name else name


def told() -> Iterator[Finding]:
    """Who is told of what happens, and errors."""
    if settings.NOTIFY_EMAILS and not os.environ.get("EMAIL_URL"):
        yield warning("notifications", "NOTIFY_EMAILS is set and EMAIL_URL is not: mail goes to localhost:25.")
    if settings.NOTIFY_WEBHOOK_URL and urlsplit(settings.NOTIFY_WEBHOOK_URL).scheme not in ("http", "https"):
        yield error("notifications", "NOTIFY_WEBHOOK_URL must begin with https:// or http://.")
    if settings.NOTIFY_APPRISE_URLS:
        import apprise

        for number, url in enumerate(settings.NOTIFY_APPRISE_URLS, 1):
            if not apprise.Apprise().add(url):
                yield error("notifications", f"Address {number} of NOTIFY_APPRISE_URLS is none that Apprise knows.")
    channels = [
        name
        for name, given in (
            ("e-mail", settings.NOTIFY_EMAILS),
            ("webhook", settings.NOTIFY_WEBHOOK_URL),
            ("Apprise", settings.NOTIFY_APPRISE_URLS),
        )
        if given
    ]
    yield ok("notifications", f"by {', '.join(channels)}." if channels else "nobody is told of cameras that go away.")


def flower() -> Iterator[Finding]:
    """The password that nobody types."""
    if not settings.FLOWER_PASSWORD:
        yield warning("Flower", "FLOWER_PASSWORD is not set, and Flower does not start without: run `make setup`.")
        return
    yield ok("Flower", "has its password.")


def of_django() -> Iterator[Finding]:
    """What `manage.py check` finds; with HTTPS what it finds for a deployment, too."""
    found = [
        message for message in checks.run_checks(include_deployment_checks=settings.HTTPS) if not message.is_silenced()
    ]
    for message in found:
        hint = f" {message.hint}" if message.hint else ""
        tell = error if message.level >= checks.ERROR else warning
        yield tell("checks", f"{message.msg}{hint} ({message.id})")
    if not found:
        yield ok("checks", "manage.py check finds nothing.")


CHECKS = [
    Check("settings", stated),
    Check("site", names),
    Check("notifications", told),
    Check("Flower", flower),
    Check("checks", of_django),
]
