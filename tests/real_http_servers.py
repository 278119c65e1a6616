"""HTTP servers that others wrote, as cameras for the tests: FFmpeg's for MJPEG, lighttpd for logins."""

from __future__ import annotations

import hashlib
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.services import find_free_port

USER, PASSWORD, REALM = "camera", "s3cret @:/?#%", "the yard"
# Folder of the site, and what it asks for; /open asks for nothing.
GUARDED = {
    "basic": ('"basic"', ""),
    "md5": ('"digest"', '"algorithm" => "MD5",'),
    "sha256": ('"digest"', '"algorithm" => "SHA-256",'),
}


def missing(*programs: str) -> str:
    """Those that are not installed; Debian keeps some out of a plain user's PATH."""
    return ", ".join(name for name in programs if not _found(name))


def _found(program: str) -> str | None:
    return shutil.which(program) or shutil.which(program, path="/usr/sbin")


@contextmanager
def ffmpeg_mjpeg(*options: str) -> Iterator[str]:
    """FFmpeg's own HTTP server and its mpjpeg muxer, five pictures a second; its address.

    It serves one client and ends: another one follows for the next client, after a moment in which nobody listens.
    """
    address = f"http://127.0.0.1:{find_free_port()}/"
    scene = ["-re", "-f", "lavfi", "-i", "testsrc=size=320x176:rate=5"]
    words = ["ffmpeg", "-loglevel", "error", "-nostdin", *scene, "-f", "mpjpeg", *options, "-listen", "1", address]
    running: list[subprocess.Popen[bytes]] = []
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            running.append(subprocess.Popen(words, stderr=subprocess.DEVNULL))
            running[-1].wait()
            time.sleep(0.05)

    loop = threading.Thread(target=serve, daemon=True)
    loop.start()
    try:
        yield address
    finally:
        over.set()
        while loop.is_alive():  # one may have been started just now
            with suppress(IndexError):
                running[-1].kill()
            loop.join(0.1)


@contextmanager
def lighttpd(folder: Path, site: Path) -> Iterator[int]:
    """Serves the files of ``site`` as they are, the folders that are GUARDED to USER only; its port."""
    port = find_free_port()
    configuration = folder / "lighttpd.conf"
    configuration.write_text(_configuration(folder, site, port))
    process = subprocess.Popen(
        [_found("lighttpd") or "lighttpd", "-D", "-f", str(configuration)],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _wait_until_it_listens(process, port)
        yield port
    finally:
        process.kill()
        process.communicate()


def _wait_until_it_listens(process: subprocess.Popen[str], port: int) -> None:
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    process.kill()
    raise OSError(f"lighttpd does not start: {process.communicate()[1][-500:]}")


def _configuration(folder: Path, site: Path, port: int) -> str:
    (folder / "plain").write_text(f"{USER}:{PASSWORD}\n")
    for algorithm in ("md5", "sha256"):
        secret = hashlib.new(algorithm, f"{USER}:{REALM}:{PASSWORD}".encode()).hexdigest()
        (folder / algorithm).write_text(f"{USER}:{REALM}:{secret}\n")
    guards = "".join(_guard(folder, name, *words) for name, words in GUARDED.items())
    return f"""
server.document-root = "{site}"
server.bind = "127.0.0.1"
server.port = {port}
server.modules = ("mod_auth", "mod_authn_file")
mimetype.assign = (".jpg" => "image/jpeg")
auth.backend.plain.userfile = "{folder}/plain"
{guards}"""


def _guard(folder: Path, name: str, method: str, algorithm: str) -> str:
    backend = f'auth.backend.htdigest.userfile = "{folder}/{name}"' if algorithm else ""
    kind = "htdigest" if algorithm else "plain"
    return f"""
$HTTP["url"] =~ "^/{name}/" {{
    auth.backend = "{kind}"
    {backend}
    auth.require = ("" => ("method" => {method}, {algorithm} "realm" => "{REALM}", "require" => "valid-user"))
}}
"""
