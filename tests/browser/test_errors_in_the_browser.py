"""A part of a page that does not come says why in words, and takes that back when it comes again."""

from __future__ import annotations

import os

from django.test import Client, override_settings

from detection.rates import Rate
from tests.cast import a_camera, a_user
from tests.processes import PATIENCE


def test_a_list_that_is_refused_says_so_until_it_comes_again(chromium, live_server, transactional_db: None) -> None:
    a_camera("Gate")
    client = Client()
    client.force_login(a_user("viewer"))
    context = chromium.new_context(base_url=live_server.url)
    context.add_cookies([{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}])
    page = context.new_page()
    page.goto("/cameras/")
    answers = {
        "status": 429,
        "content_type": "text/plain; charset=utf-8",
        "body": "Wait 45 seconds, then try again.",
    }
    page.route("**/cameras/", lambda route: route.fulfill(**answers))
    page.evaluate("htmx.ajax('GET', '/cameras/', {target: '#results'})")
    said = page.locator(".behind")
    said.wait_for()
    assert said.inner_text() == "This page is not up to date. Wait 45 seconds, then try again."
    page.unroute("**/cameras/")
    said.wait_for(state="detached", timeout=15_000 * PATIENCE)
    assert "Gate" in page.locator("#results").inner_text()
    context.close()


def test_too_many_log_ins_are_a_page_in_the_sites_look(chromium, live_server, transactional_db: None) -> None:
    rates = {"login": Rate(1, 3600)}
    with override_settings(RATES=rates):
        context = chromium.new_context(base_url=live_server.url, color_scheme="dark")
        page = context.new_page()
        for _ in range(2):
            page.goto("/login/")
            page.fill("#id_username", "somebody")
            page.fill("#id_password", "wrong")
            page.click("main button")
        assert "Too many requests" in page.locator("h1").inner_text()
        assert "minutes, then try again" in page.locator("main").inner_text()
        assert page.locator("main code").inner_text()  # the reference
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background != "rgb(255, 255, 255)"
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/429.png")
        context.close()
