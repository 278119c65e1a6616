"""The strict policy in a real browser: no page of ours breaks it, and nothing that was uploaded gets around it."""

from __future__ import annotations

import io
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from django.contrib.auth.models import User
from PIL import Image

from detection.models import Media
from tests.cast import CLIP, IMAGE, a_camera, a_done_analysis, a_media
from tests.processes import PATIENCE

ADMIN = [
    "/admin/",
    "/admin/detection/media/",
    "/admin/detection/camera/add/",
    "/admin/detection/analysis/",
    "/admin/auth/user/add/",
    "/admin/auth/user/1/password/",
    "/admin/auth/group/add/",
    "/admin/axes/accessattempt/",
    "/admin/nowhere/",
]
PAGES = ["/", "/media/", "/sightings/", "/analyses/", "/cameras/", "/cameras/new", "/upload/", "/login/", "/nowhere/"]
ATTACK = b"<!doctype html><title>calm</title><script>document.title='taken over'</script><h1 onclick='x()'>hi</h1>"


def breaks(page) -> list[str]:
    """What the browser complains of by itself, of policies above all."""
    found: list[str] = []
    page.on(
        "console",
        lambda line: found.append(line.text) if line.type == "error" and "status of" not in line.text else None,
    )
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.fixture
def root_page(chromium, live_server, transactional_db: None):
    User.objects.create_superuser("root", password="only for tests")
    context = chromium.new_context(base_url=live_server.url)
    page = context.new_page()
    page.set_default_timeout(20_000 * PATIENCE)
    page.goto("/admin/")
    page.fill("#id_username", "root")
    page.fill("#id_password", "only for tests")
    page.click("main button")
    page.wait_for_url(lambda url: "/admin/" in url and "login" not in url)
    yield page
    context.close()


def test_no_page_and_no_form_of_the_administration_breaks_the_policy(root_page) -> None:
    a_done_analysis()
    camera = a_camera()
    found = breaks(root_page)
    seen = [f"/cameras/{camera.pk}/", f"/cameras/{camera.pk}/edit", f"/admin/detection/camera/{camera.pk}/change/"]
    media = Media.objects.get()
    for path in [*PAGES, *ADMIN, *seen, f"/media/{media.pk}/", f"/admin/detection/media/{media.pk}/change/"]:
        # The one answer that a media without a real file gives is not of interest here.
        root_page.goto(path, wait_until="load")
        assert "Content Security Policy" not in " ".join(found), (path, found)
    root_page.goto("/admin/detection/media/?q=x")
    root_page.click("#toggle-nav-sidebar")  # the administration's own scripts run
    assert root_page.evaluate("document.documentElement.dataset.theme !== undefined")
    assert found == []


def test_what_was_uploaded_as_a_picture_or_clip_runs_nothing_where_it_is_opened(root_page) -> None:
    for info, name in ((CLIP, "evil.html"), (IMAGE, "evil.svg")):
        media = a_media(ATTACK + name.encode(), info, name)
        root_page.goto(f"/media/{media.pk}/file", wait_until="commit")
        root_page.wait_for_timeout(300)
        assert "taken over" not in root_page.title()
        assert root_page.evaluate("document.querySelectorAll('h1').length") == 0


def test_a_real_picture_is_shown_where_it_is_opened_by_itself(root_page) -> None:
    out = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(out, "JPEG")
    media = a_media(out.getvalue(), IMAGE, "yard.jpg")
    root_page.goto(f"/media/{media.pk}/file")
    assert root_page.evaluate("document.images[0].naturalWidth") == 64


def test_another_site_cannot_frame_us(root_page, live_server) -> None:
    """A real server at another origin of this machine."""
    found = breaks(root_page)

    class Elsewhere(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<iframe src='{live_server.url}/login/'></iframe>".encode())

    with ThreadingHTTPServer(("127.0.0.1", 0), Elsewhere) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        root_page.goto(f"http://127.0.0.1:{server.server_port}/")
        root_page.wait_for_timeout(500)
        framed = [frame for frame in root_page.frames if frame is not root_page.main_frame]
        assert all("id_username" not in frame.content() for frame in framed)
        server.shutdown()
    assert any("frame-ancestors" in line for line in found), found


def test_a_script_that_got_into_a_page_does_not_run(root_page) -> None:
    found = breaks(root_page)
    root_page.goto("/media/")
    root_page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = "document.title = 'taken over'";
          document.body.append(script);
          const image = document.createElement('img');
          document.body.insertAdjacentHTML('beforeend', '<img src=x onerror="document.title=\\'taken over\\'">');
          document.body.insertAdjacentHTML('beforeend', '<form action="https://evil.example/"><button id=b>x</button>');
        }"""
    )
    root_page.evaluate("document.getElementById('b').click()")
    root_page.wait_for_timeout(500)
    assert "taken over" not in root_page.title()
    assert "evil.example" not in root_page.url
    assert sum("Content Security Policy" in line for line in found) >= 2
