"""Any service that Apprise knows, one address each in NOTIFY_APPRISE_URLS.

Apprise's own log lines have whole addresses in them; LOGGING silences them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from workers.notify import NotifyError
from workers.notify.message import Message

if TYPE_CHECKING:
    from apprise import AppriseAsset

KINDS = {"camera.back": "success", "test": "info"}  # else a warning; services choose their colours by it


def send(message: Message) -> None:
    """Tells all services, also where one fails. Raises NotifyError where one was not told."""
    from apprise import AppriseAsset

    urls = settings.NOTIFY_APPRISE_URLS
    if not urls:
        raise NotifyError("NOTIFY_APPRISE_URLS is not set any more.", permanent=True)
    asset = AppriseAsset(app_id="Nightjar", app_desc="Nightjar", storage_mode="memory")
    failed = []
    for number, url in enumerate(urls, start=1):
        try:
            _tell(url, number, message, asset)
        except NotifyError as error:
            failed.append(error)
    if failed:
        sentences = " ".join(str(error) for error in failed)
        raise NotifyError(sentences, permanent=all(error.permanent for error in failed))


def _tell(url: str, number: int, message: Message, asset: AppriseAsset) -> None:
    from apprise import Apprise, NotifyFormat, NotifyType

    service = Apprise.instantiate(url, asset=asset)
    if service is None:
        raise NotifyError(
            f"Address {number} of NOTIFY_APPRISE_URLS is none that Apprise understands, or the service needs a package "
            "that is not installed.",
            permanent=True,
        )
    told = Apprise([service], asset=asset).notify(
        title=message.subject,
        body=message.text,
        notify_type=NotifyType(KINDS.get(message.event, "warning")),
        body_format=NotifyFormat.TEXT,
    )
    if not told:
        name = f"{service.service_name} (address {number} of NOTIFY_APPRISE_URLS)"
        raise NotifyError(f"Apprise could not tell {name}.", permanent=False)
