"""E-mail, through Django's mail and the server of EMAIL_URL."""

from __future__ import annotations

import smtplib
import ssl
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMessage

from workers.notify import NotifyError
from workers.notify.message import Message


def send(message: Message) -> None:
    """One mail to all. Raises NotifyError."""
    if not settings.NOTIFY_EMAILS:
        raise NotifyError("NOTIFY_EMAILS is not set any more.", permanent=True)
    host = urlsplit(settings.SITE_URL).hostname or "localhost"
    mail = EmailMessage(
        message.subject,
        message.text + "\n",
        to=settings.NOTIFY_EMAILS,
        # The same Message-ID for the same event: mailboxes drop a double. No answer from whoever is on holiday.
        headers={"Message-ID": f"<{message.key}@{host}>", "Auto-Submitted": "auto-generated"},
    )
    server = f"The mail server {settings.EMAIL_HOST}:{settings.EMAIL_PORT}"
    try:
        mail.send()
    except smtplib.SMTPAuthenticationError as error:
        raise NotifyError(
            f"{server} refused the user name or password of EMAIL_URL ({error.smtp_code}).",
            permanent=_is_final(error.smtp_code),
        ) from None
    except smtplib.SMTPRecipientsRefused as error:
        refused = [code for code, _ in error.recipients.values()]
        raise NotifyError(
            f"{server} refused all addresses of NOTIFY_EMAILS ({refused[0]}).", permanent=all(map(_is_final, refused))
        ) from None
    except smtplib.SMTPResponseException as error:
        raise NotifyError(
            f"{server} refused the mail ({error.smtp_code}).", permanent=_is_final(error.smtp_code)
        ) from None
    except smtplib.SMTPNotSupportedError:
        raise NotifyError(f"{server} cannot do what EMAIL_URL asks for: TLS, or a password.", permanent=True) from None
    except ssl.SSLCertVerificationError:
        raise NotifyError(f"{server} has a certificate that cannot be verified.", permanent=False) from None
    except (smtplib.SMTPException, TimeoutError):
        raise NotifyError(f"{server} did not answer in time, or broke off.", permanent=False) from None
    except OSError:
        raise NotifyError(f"{server} could not be reached.", permanent=False) from None


def _is_final(code: int) -> bool:
    """5xx of RFC 5321: do not send it again; 4xx: come back later, as for greylisting."""
    return 500 <= code < 600
