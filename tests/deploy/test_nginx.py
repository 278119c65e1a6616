"""nginx instead of Caddy: its configuration, before the real pages."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.deploy.composed import DEPLOY
from tests.processes import answers, environment, wait_for
from tests.programs import Programs
from tests.services import absent, find_free_port

PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"
OURS = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/f;
    uwsgi_temp_path {folder}/u;
    scgi_temp_path {folder}/s;
    include {folder}/site.conf;
}}
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Where the pages are through TLS, and what web logs."""
    if not (program := shutil.which("nginx", path=PATH)):
        absent("There is no nginx.")
    web, https, http = (find_free_port() for _ in range(3))
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", f"{tmp_path}/key.pem", "-out", f"{tmp_path}/fullchain.pem"]
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *name, *files]
    subprocess.run(made, check=True, capture_output=True, timeout=60)
    text = (DEPLOY / "nginx.conf").read_text()
    for there, here in {
        "/etc/ssl/nightjar": str(tmp_path),
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl": f"listen 127.0.0.1:{https} ssl",
        "server 127.0.0.1:8000": f"server 127.0.0.1:{web}",
        "nightjar.example.org": "localhost",
    }.items():
        assert there in text
        text = text.replace(there, here)
    (tmp_path / "site.conf").write_text("\n".join(line for line in text.splitlines() if "[::]" not in line))
    (tmp_path / "nginx.conf").write_text(OURS.format(folder=tmp_path))
    settings = {"HTTPS": "true", "ALLOWED_HOSTS": "localhost", "TRUSTED_PROXIES": "127.0.0.1", "LOG_FORMAT": "json"}
    programs = Programs(environment(tmp_path / "data", web, **settings), tmp_path)
    programs.manage("prepare", "--release")
    programs.start("web")
    with (tmp_path / "nginx.log").open("wb") as log:
        nginx = subprocess.Popen([program, "-c", str(tmp_path / "nginx.conf")], stdout=log, stderr=log)
    try:
        wait_for(
            "nginx is there", lambda: answers(f"https://localhost:{https}/health/live", a_browser(tmp_path).get), 60
        )
        yield f"https://localhost:{https}", tmp_path
    finally:
        nginx.send_signal(signal.SIGQUIT)
        nginx.wait(timeout=30)
        for process in programs.running.values():
            process.terminate()
            process.wait(timeout=30)


def a_browser(folder: Path) -> requests.Session:
    """It trusts the site's certificate."""
    browser = requests.Session()
    browser.trust_env = False
    browser.verify = str(folder / "fullchain.pem")
    return browser


def test_pages_come_through_tls_and_strangers_cannot_say_who_they_are(site: tuple[str, Path]) -> None:
    address, folder = site
    spoofed = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Forwarded-Host": "evil.example"}
    answer = a_browser(folder).get(f"{address}/login/", headers=spoofed, timeout=30, allow_redirects=False)
    assert answer.status_code == 200  # and not sent on to TLS, which it has come by
    assert "max-age=31536000" in answer.headers["Strict-Transport-Security"]
    wait_for("its line in the log", lambda: '"path": "/login/"' in (folder / "web.log").read_text())
    assert "6.6.6.6" not in (folder / "web.log").read_text()
    assert "evil.example" not in answer.text
