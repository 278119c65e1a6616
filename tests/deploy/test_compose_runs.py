"""What the compose file starts works together: each of its commands, as a process, with TLS before it."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from detection.vision.draw import draw_scene, write_clip
from tests.conftest import ROOT
from tests.deploy.composed import Services
from tests.processes import answers, wait_for
from tests.services import absent, find_free_port, new_database

pytestmark = pytest.mark.slow
TOKEN = "a-token-for-this-test"
PROCESSES = ["web", "grab", "probe", "analyse", "proxy", "beat", "flower"]


@pytest.fixture
def services(tmp_path: Path, postgres_url: str) -> Iterator[Services]:
    """Set up as deploy/README.md says; nothing runs yet."""
    if not shutil.which("caddy"):
        absent("There is no caddy: apt-get install caddy")
    env = tmp_path / "env"
    subprocess.run([sys.executable, "-I", "project/environment.py", str(env)], cwd=ROOT, check=True)
    given = dict(re.findall(r"^(\w+)=(.*)$", env.read_text(), re.MULTILINE))
    assert {"SECRET_KEY", "CAMERA_KEYS", "FLOWER_PASSWORD"} <= given.keys()
    given |= {"POSTGRES_PASSWORD": "for-this-test", "REDIS_PASSWORD": "a-secret-for-this-test", "SITE": "localhost"}
    given["METRICS_TOKEN"] = TOKEN
    redis, web, https, http, up = (str(find_free_port()) for _ in range(5))
    with new_database(postgres_url) as database:
        elsewhere = {
            "postgres://nightjar:for-this-test@postgres:5432/nightjar": database,
            "@redis:6379": f"@127.0.0.1:{redis}",
            "172.31.250.0/24": "127.0.0.1",
            "web:8000": f"127.0.0.1:{web}",
            "8000": web,
            "valkey-cli -a": f"valkey-cli -p {redis} -a",
            "/data": str(tmp_path / "data"),
            "/tmp/metrics": str(tmp_path / "metrics"),
            "/app/static": str(tmp_path / "static"),
            "/etc/caddy/": f"{ROOT}/deploy/",
            "127.0.0.1:2020": f"127.0.0.1:{up}",
        }
        services = Services(tmp_path, given, elsewhere)
        services.ports = {"redis": redis, "https": https, "http": http, "up": up, "web": web}
        try:
            yield services
        finally:
            services.kill()
            for name in services.services:
                print(f"---- {name}\n{services.log(name)[-3000:]}")


def start_all(services: Services, tmp_path: Path) -> None:
    ports = services.ports
    services.start("redis", "--port", ports["redis"], "--bind", "127.0.0.1")
    # As the image is built, and by the same command.
    build = services.run("web", [sys.executable, "manage.py", "collectstatic", "--no-input", "--verbosity", "0"])
    assert build.returncode == 0, build.stderr
    services.start("release", WEIGHTS_URL="http://127.0.0.1:9")
    assert services.running.pop("release").wait(timeout=120) == 0, services.log("release")
    assert "Nobody is administrator yet" in services.log("release")
    for name in PROCESSES:
        services.start(name)
    caddy = {"HTTP_PORT": ports["http"], "HTTPS_PORT": ports["https"], "UP_PORT": ports["up"]}
    services.start("tls", **caddy, XDG_DATA_HOME=str(tmp_path / "certificates"), XDG_CONFIG_HOME=str(tmp_path / "c"))


def test_an_upload_through_tls_is_analysed_and_all_stop_in_time(services: Services, tmp_path: Path) -> None:
    start_all(services, tmp_path)
    created = services.run("web", [sys.executable, "manage.py", "prepare", "--no-example"])
    password = re.search(r"password\s+(\S+)", created.stdout)
    assert password, created.stdout + created.stderr

    authority = tmp_path / "certificates/caddy/pki/authorities/local/root.crt"
    wait_for("Caddy's authority", authority.exists, limit_s=30)
    site = f"https://localhost:{services.ports['https']}"
    browser = requests.Session()
    browser.trust_env = False  # or another authority of the environment's would go before this one
    browser.verify = str(authority)

    def get(path: str) -> requests.Response:
        return browser.get(site + path, timeout=30)

    wait_for("the pages answer through TLS", lambda: answers(f"{site}/health/ready", browser.get), limit_s=90)
    page = get("/login/")
    assert page.headers["Strict-Transport-Security"]
    assert "Server" not in page.headers
    cookie = next(cookie for cookie in browser.cookies if "csrftoken" in cookie.name)
    assert cookie.secure

    def submit(path: str, data: dict[str, object], **more: object) -> requests.Response:
        token = next(cookie.value for cookie in browser.cookies if "csrftoken" in cookie.name)
        form = {"csrfmiddlewaretoken": token, **data}
        return browser.post(site + path, data=form, headers={"Referer": site + path}, timeout=60, **more)

    signed_in = submit("/login/", {"username": "admin", "password": password[1]})
    assert "Log out" in signed_in.text

    clip = tmp_path / "morning.mp4"
    write_clip(clip, draw_scene(11, width=480, height=270, seconds=8, fps=10, parked=False), fps=10)
    with clip.open("rb") as file:
        taken = submit("/upload/", {}, files={"files": ("morning.mp4", file, "video/mp4")})
    assert taken.status_code == 201, taken.text[:2000]
    exported = [sys.executable, "manage.py", "export"]
    wait_for("its result", lambda: '"state": "done"' in services.run("web", exported).stdout, limit_s=120)

    for name in [*PROCESSES, "tls"]:
        if name == "tls" and not shutil.which("wget"):
            continue
        wait_for(f"{name} is healthy", lambda name=name: services.is_healthy(name), limit_s=90)
    spoofed = {"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
    assert browser.get(site + "/media/", headers=spoofed, timeout=30).status_code == 200
    wait_for("its line in the log", lambda: '"path": "/media/"' in services.log("web"))
    assert "6.6.6.6" not in services.log("web")  # who it was, and not whom they said they were
    assert get("/flower/").status_code == 200
    judged = services.run("web", [sys.executable, "manage.py", "doctor"])
    assert judged.returncode == 0, judged.stdout
    # As Prometheus asks a container: by its name there, past the proxy.
    prometheus = {"Host": "web:8000", "Authorization": f"Bearer {TOKEN}"}
    web = f"http://127.0.0.1:{services.ports['web']}/metrics"
    scraped = requests.get(web, headers=prometheus, timeout=30, allow_redirects=False)
    assert scraped.status_code == 200
    assert 'nightjar_media{kind="clip"} 1.0' in scraped.text
    assert "nightjar_" in get("/metrics").text

    stop_all(services)


def stop_all(services: Services) -> None:
    began = time.monotonic()
    for name in PROCESSES:
        services.running[name].send_signal(signal.SIGTERM)
    for name in PROCESSES:
        left = services.grace_s(name) - (time.monotonic() - began)
        code = services.running[name].wait(timeout=max(left, 0.1))
        assert code == 0, (name, code, services.log(name)[-2000:])
