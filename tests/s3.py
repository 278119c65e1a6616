"""A real S3 server for the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from tests.services import absent


@contextmanager
def s3_server(bucket: str = "footage", key: str = "key", secret: str = "secret") -> Iterator[str]:
    """The STORAGE_URL of a bucket on an S3 server of this process; all servers of a process have the same buckets."""
    try:
        import boto3
        from moto.server import ThreadedMotoServer
    except ImportError:
        absent("moto, the S3 server for tests, is not installed: pip install -r requirements-dev.txt")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "s3",
        endpoint_url=f"http://{host}:{port}",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )
    client.create_bucket(Bucket=bucket)
    try:
        yield f"s3://{quote(key, safe='')}:{quote(secret, safe='')}@{host}:{port}/{bucket}?tls=false&region=us-east-1"
    finally:
        server.stop()
