"""A webhook: one POST of JSON to the address of NOTIFY_WEBHOOK_URL."""

from __future__ import annotations

import requests
from django.conf import settings

from project import __version__
from workers.notify import NotifyError
from workers.notify.address import host_of
from workers.notify.message import Message

CONNECT_S = 5.0
ANSWER_S = 15.0
MAY_PASS = (408, 425, 429)  # of 4xx: too slow, too early, too many


def send(message: Message) -> None:
    """Raises NotifyError."""
    url = settings.NOTIFY_WEBHOOK_URL
    if not url:
        raise NotifyError("NOTIFY_WEBHOOK_URL is not set any more.", permanent=True)
    whose = f"The webhook at {host_of(url)}"
    try:
        # Streamed and closed: what it answers is not read, only its status.
        with requests.post(
            url,
            json=message.payload,
            headers={"Idempotency-Key": message.key, "User-Agent": f"Nightjar/{__version__}"},
            timeout=(CONNECT_S, ANSWER_S),
            allow_redirects=False,
            stream=True,
        ) as response:
            status = response.status_code
    except requests.Timeout:
        raise NotifyError(f"{whose} did not answer in time.", permanent=False) from None
    except requests.exceptions.SSLError:
        raise NotifyError(f"{whose} has a certificate that cannot be verified.", permanent=False) from None
    except requests.ConnectionError:
        raise NotifyError(f"{whose} could not be reached, or broke off.", permanent=False) from None
    except (requests.RequestException, ValueError):
        raise NotifyError("NOTIFY_WEBHOOK_URL is not an address that can be called.", permanent=True) from None
    if 300 <= status < 400:
        raise NotifyError(
            f"{whose} answered {status}, a redirect, which is not followed: set the address it leads to.",
            permanent=False,
        )
    if not 200 <= status < 300:
        is_final = 400 <= status < 500 and status not in MAY_PASS
        raise NotifyError(f"{whose} answered {status}.", permanent=is_final)
