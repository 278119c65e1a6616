"""Cameras for the tests: simulated ones that speak HTTP, and real RTSP servers."""

from __future__ import annotations

import select
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from detection.management.commands._simulated import SimulatedCameras
from tests.processes import PATIENCE
from tests.services import absent
from workers.grab import Limits, Policy, children

SERVER = Path(__file__).resolve().parents[1] / "rtsp_server.py"


@pytest.fixture(scope="package", autouse=True)
def _no_children_left() -> Iterator[None]:
    yield
    children.LOOKERS.close()
    children.WATCHERS.close()


@pytest.fixture
def limits() -> Limits:
    times = {"connect_s": 1.0 * PATIENCE, "first_frame_s": 0.6 * PATIENCE, "total_s": 1.2 * PATIENCE}
    return Limits(**times, max_bytes=2_000_000, max_pixels=4_000_000)


@pytest.fixture
def patient(limits: Limits) -> Limits:
    """For what a busy machine is to get done in time: an encoder that starts takes a second or two."""
    return replace(limits, connect_s=5.0 * PATIENCE, first_frame_s=6.0 * PATIENCE, total_s=8.0 * PATIENCE)


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    return Policy(allow_loopback=True, allow_private=True, files_dir=tmp_path)


@pytest.fixture(scope="package")
def cameras() -> Iterator[SimulatedCameras]:
    with SimulatedCameras(24) as simulated:
        yield simulated


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "camera")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path / "camera.pem"
    path.write_bytes(made.public_bytes(pem) + key.private_bytes(pem, plain, serialization.NoEncryption()))
    return path


class RtspServer:
    """A process of GStreamer's RTSP server."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.process = subprocess.Popen(
            ["/usr/bin/python3", str(SERVER), "320", "176", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], 20)
        said = self.process.stdout.readline() if ready else ""
        if not said.strip().isdigit():
            self.kill()
            assert self.process.stderr is not None
            raise OSError(self.process.stderr.read()[-500:])
        self.port = int(said)

    def address(self, path: str, login: str = "", scheme: str = "rtsp") -> str:
        return f"{scheme}://{login}{'@' if login else ''}127.0.0.1:{self.port}/{path}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="package")
def rtsp() -> Iterator[Callable[..., RtspServer]]:
    """Starts servers, one for each set of options; ``port`` or ``fresh`` makes a new one."""
    servers: dict[tuple[str, ...], RtspServer] = {}
    more: list[RtspServer] = []

    def started(*options: str, port: int = 0, fresh: bool = False) -> RtspServer:
        try:
            if fresh or port:
                more.append(RtspServer(*options, port=port))
                return more[-1]
            if options not in servers:
                servers[options] = RtspServer(*options)
            return servers[options]
        except OSError as error:
            absent(f"No RTSP server can be started (gir1.2-gst-rtsp-server-1.0 and GStreamer's plugins): {error}")

    yield started
    for server in [*servers.values(), *more]:
        server.kill()
