"""Secrets that are planted in an installation, and must not be found again: in no log, page, event or list of tasks.

``settings`` plants them, what else is named here is typed, sent or uploaded by whoever drives the installation, and
``found_in`` looks for them, in the shapes in which they travel: as they are, escaped for a URL, in base64.
"""

from __future__ import annotations

import base64
import io
from urllib.parse import quote

from PIL import Image
from PIL.PngImagePlugin import PngInfo

SECRET_KEY = "planted-secret-key-" + "Zq8vX2mB7nK4tR9wL3jH6dF1sG5pY0cA"
CAMERA_KEY = base64.urlsafe_b64encode(b"planted-camera-key-0123456789abc").decode()
FLOWER_PASSWORD = "planted-flower-Wd5Kq"
DATABASE_PASSWORD = "planted-database-Tj7/Rm"
BROKER_PASSWORD = "planted-broker-Hs3Vx"
S3_KEY = "PLANTEDS3KEYQ7ZD"
S3_SECRET = "planted-s3-secret-Bn6+Lw"
METRICS_TOKEN = "planted-metrics-Gf4Xc"
EMAIL_PASSWORD = "planted-mail-Pk2Yt"
WEBHOOK_TOKEN = "planted-webhook-Mz8Jr"
APPRISE_TOKEN = "planted-apprise-Dv1Ns"
SENTRY_KEY = "planted0sentry0key0e5b7c1a9d3f2468"
ADMIN_PASSWORD = "planted-admin-Xb9Qh"
WRONG_PASSWORD = "planted-typed-wrong-Cw6Lz"
CAMERA_PASSWORD = "planted-camera-Fy5@Ug"
CAMERA_TOKEN = "planted-camera-token-Ke2Vp"  # in the query of an address, as many cameras want it
SESSION = "planted0session0k4m8q2x6z0b3d7g1"
CSRF_TOKEN = "plantedCsrfTokenR5tY8uW2eQ9iO3pA"
BEARER_TOKEN = "planted-bearer-Ns7Jd"
DIGEST_RESPONSE = "planted0digest0a8c6e4f2b0d1937"
UPLOAD = "planted-upload-Rt4Gm"  # what is inside of a file that somebody uploads

# What must never come out again, by what it is called where it did.
SECRETS = {
    "SECRET_KEY": SECRET_KEY,
    "CAMERA_KEYS": CAMERA_KEY,
    "FLOWER_PASSWORD": FLOWER_PASSWORD,
    "the database's password": DATABASE_PASSWORD,
    "the broker's password": BROKER_PASSWORD,
    "the S3 key": S3_KEY,
    "the S3 secret": S3_SECRET,
    "METRICS_TOKEN": METRICS_TOKEN,
    "the e-mail password": EMAIL_PASSWORD,
    "the webhook's token": WEBHOOK_TOKEN,
    "the Apprise token": APPRISE_TOKEN,
    "SENTRY_DSN": SENTRY_KEY,
    "the administrator's password": ADMIN_PASSWORD,
    "a password typed wrong": WRONG_PASSWORD,
    "a camera's password": CAMERA_PASSWORD,
    "a camera's token": CAMERA_TOKEN,
    "a session's cookie": SESSION,
    "a CSRF token": CSRF_TOKEN,
    "a bearer token": BEARER_TOKEN,
    "a digest's response": DIGEST_RESPONSE,
    "the content of an upload": UPLOAD,
}


def settings(**more: str) -> dict[str, str]:
    """The settings that hold them, for the environment; ``more`` is what the test's own servers need instead.

    Nobody listens at these addresses: what is not replaced fails, and says so in the log, which is what is wanted.
    """
    return {
        "SECRET_KEY": SECRET_KEY,
        "CAMERA_KEYS": CAMERA_KEY,
        "FLOWER_PASSWORD": FLOWER_PASSWORD,
        "METRICS_TOKEN": METRICS_TOKEN,
        "EMAIL_URL": f"smtp://planted%40example.org:{quote(EMAIL_PASSWORD, safe='')}@127.0.0.1:9",
        "NOTIFY_EMAILS": "guard@example.org",
        "NOTIFY_WEBHOOK_URL": f"http://127.0.0.1:9/hooks/{WEBHOOK_TOKEN}",
        "NOTIFY_APPRISE_URLS": f"json://127.0.0.1:9/{APPRISE_TOKEN}",
        **more,
    }


def database_url(host: str, port: int, name: str, user: str = "postgres") -> str:
    return f"postgres://{user}:{quote(DATABASE_PASSWORD, safe='')}@{host}:{port}/{name}"


def redis_url(host: str, port: int, database: int = 0) -> str:
    return f"redis://:{quote(BROKER_PASSWORD, safe='')}@{host}:{port}/{database}"


def s3_url(host: str, port: int, bucket: str = "footage") -> str:
    return f"s3://{S3_KEY}:{quote(S3_SECRET, safe='')}@{host}:{port}/{bucket}?tls=false&region=us-east-1"


def sentry_dsn(host: str, port: int, project: int = 1) -> str:
    return f"http://{SENTRY_KEY}@{host}:{port}/{project}"


def camera_url(host: str, port: int, scheme: str = "http") -> str:
    """Of a camera that wants a password, and a token in the address."""
    return f"{scheme}://viewer:{quote(CAMERA_PASSWORD, safe='')}@{host}:{port}/snap.jpg?token={CAMERA_TOKEN}"


def headers() -> dict[str, str]:
    """Of a request that holds whatever a request can hold."""
    return {
        "Cookie": f"sessionid={SESSION}; csrftoken={CSRF_TOKEN}",
        "X-CSRFToken": CSRF_TOKEN,
        "Authorization": f"Bearer {BEARER_TOKEN}",
        "Proxy-Authorization": f'Digest username="viewer", realm="x", nonce="y", response="{DIGEST_RESPONSE}"',
    }


def picture() -> bytes:
    """A PNG that opens, with the planted content in it."""
    info = PngInfo()
    info.add_text("Comment", UPLOAD)
    file = io.BytesIO()
    Image.effect_noise((320, 240), 60).save(file, "png", pnginfo=info)
    return file.getvalue()


def found_in(text: str) -> list[str]:
    """What is found of them in a text, by name: to be compared with an empty list."""
    return [name for name, secret in SECRETS.items() if any(shape in text for shape in shapes(secret))]


def shapes(secret: str) -> set[str]:
    """A secret as it is, escaped for a URL, and wherever it may lie in something that is in base64."""
    raw = secret.encode()
    in_base64 = {_inner(base64.b64encode(b"\0" * shift + raw).decode(), shift) for shift in range(3)}
    return {secret, quote(secret, safe=""), quote(secret), *in_base64}


def _inner(encoded: str, shift: int) -> str:
    """Without what of the encoded text depends on its neighbours."""
    return encoded.rstrip("=")[(0, 2, 3)[shift] : -1]
