"""Where media lie: a folder or an S3 bucket, chosen by STORAGE_URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

# What a bucket's server may take to be connected to, and for each piece of an answer; how often one thing is asked.
CONNECT_S, READ_S, TRIES = 5, 30, 3
CONNECTIONS = 20  # of a thread: the parts of a large upload go at once


def from_url(url: str) -> dict[str, Any]:
    """Django's STORAGES entry for a URL.

    ``file:///folder`` is a folder of this machine. ``s3://KEY:SECRET@HOST[:PORT]/BUCKET[/PREFIX][?region=R&tls=false]``
    is a bucket of any S3-compatible server; without HOST (``s3:///BUCKET``) it is Amazon's, and without KEY the
    machine's own role.
    """
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.path.startswith("/") and not parts.netloc:
        return {
            "BACKEND": "detection.storage.DurableFileSystemStorage",
            "OPTIONS": {"location": unquote(parts.path), "allow_overwrite": True},
        }
    bucket, _, prefix = parts.path.strip("/").partition("/")
    if parts.scheme == "s3" and bucket:
        return {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": _s3_options(url, bucket, prefix)}
    raise ImproperlyConfigured("STORAGE_URL must be file:///FOLDER or s3://KEY:SECRET@HOST/BUCKET.")


def _s3_options(url: str, bucket: str, prefix: str) -> dict[str, Any]:
    parts = urlsplit(url)
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    options: dict[str, Any] = {
        "bucket_name": bucket,
        "location": prefix,
        "file_overwrite": True,  # names are made from hashes and keys: the same name is the same content
        "querystring_auth": True,
        "region_name": query.get("region") or None,
        "client_config": _client_config(None, checksums="when_supported"),
    }
    if parts.username:
        options |= {"access_key": unquote(parts.username), "secret_key": unquote(parts.password or "")}
    if parts.hostname:
        # Amazon knows these checksums; of other servers not all do. Its own answers are checked as ever.
        options["client_config"] = _client_config("path", checksums="when_required")
        scheme = "http" if query.get("tls") == "false" else "https"
        options["endpoint_url"] = f"{scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")
    return options


def _client_config(addressing_style: str | None, checksums: str) -> Any:
    """How long a server may be silent, and how often it is asked: a request and a worker must not wait for minutes."""
    from botocore.config import Config  # large, and only needed here

    return Config(
        connect_timeout=CONNECT_S,
        read_timeout=READ_S,
        retries={"mode": "standard", "total_max_attempts": TRIES},
        s3={"addressing_style": addressing_style} if addressing_style else {},
        max_pool_connections=CONNECTIONS,
        request_checksum_calculation=checksums,
        response_checksum_validation=checksums,
    )


def incoming_folder(url: str, data_dir: Path) -> Path:
    """Where uploads are received: on the same disk as the storage folder, so that storing one is a rename."""
    parts = urlsplit(url)
    return Path(unquote(parts.path)) / "incoming" if parts.scheme == "file" else data_dir / "incoming"
