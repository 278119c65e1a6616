"""Who guesses passwords waits; who only mistypes one does not; and nobody locks another out."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db.models import F
from django.test import Client

from tests.cast import a_user
from tests.counting import counted, fresh_counts

__all__ = ["fresh_counts"]

HERE, ELSEWHERE = "203.0.113.5", "198.51.100.7"
PASSWORD = "only for tests"


@pytest.fixture
def viewer_user(db: None) -> User:
    return a_user("viewer")


def attempt(name: str = "the viewer", password: str = "wrong", address: str = HERE, path: str = "/login/", **headers):
    return Client().post(path, {"username": name, "password": password}, REMOTE_ADDR=address, headers=headers)


def fail(times: int, **what: str) -> None:
    for _ in range(times):
        attempt(**what)


def test_the_fifth_wrong_password_shuts_the_door_also_to_the_right_one(viewer_user: User) -> None:
    assert [attempt().status_code for _ in range(5)] == [200, 200, 200, 200, 429]
    answer = attempt(password=PASSWORD)
    assert answer.status_code == 429
    assert 890 < int(answer["Retry-After"]) <= 900
    assert "too many wrong passwords" in answer.text
    assert "Wait 15 minutes, then try again" in answer.text
    assert "site.css" in answer.text
    assert "sessionid" not in answer.cookies


@pytest.mark.usefixtures("fresh_counts")
def test_wrong_passwords_and_shut_doors_are_counted_each_by_itself(viewer_user: User) -> None:
    fail(4)
    assert counted("nightjar_refusals_total") == {("login_failed",): 4}
    fail(2)
    assert counted("nightjar_refusals_total") == {("login_failed",): 4, ("login_locked",): 2}
    attempt(password=PASSWORD, address=ELSEWHERE)  # who gets in is none of them
    assert counted("nightjar_refusals_total") == {("login_failed",): 4, ("login_locked",): 2}


def test_a_script_is_told_in_json(viewer_user: User) -> None:
    fail(5)
    answer = attempt(accept="application/json")
    assert answer.status_code == 429
    assert "Wait 15 minutes" in answer.json()["error"]


def test_four_wrong_ones_and_the_right_one_begin_anew(viewer_user: User) -> None:
    for _ in range(3):
        fail(4)
        assert attempt(password=PASSWORD).status_code == 302


def test_nobody_locks_another_out_from_elsewhere(viewer_user: User) -> None:
    fail(12, address=ELSEWHERE)
    assert attempt(password=PASSWORD, address=ELSEWHERE).status_code == 429
    assert attempt(password=PASSWORD, address=HERE).status_code == 302


def test_forwarded_addresses_of_a_visitor_make_no_new_door(viewer_user: User) -> None:
    for number in range(5):
        attempt(**{"x-forwarded-for": f"192.0.2.{number}", "x-real-ip": f"192.0.2.{number}"})
    assert attempt(password=PASSWORD, **{"x-forwarded-for": "192.0.2.99"}).status_code == 429


def test_behind_a_trusted_proxy_each_visitor_has_a_door(viewer_user: User, settings) -> None:
    settings.TRUSTED_PROXIES = ["10.0.0.1/32"]
    for _ in range(5):
        attempt(address="10.0.0.1", **{"x-forwarded-for": ELSEWHERE})
    assert attempt(password=PASSWORD, address="10.0.0.1", **{"x-forwarded-for": ELSEWHERE}).status_code == 429
    assert attempt(password=PASSWORD, address="10.0.0.1", **{"x-forwarded-for": HERE}).status_code == 302


def test_an_ipv6_site_is_one_door(viewer_user: User) -> None:
    for number in range(5):
        attempt(address=f"2001:db8:1:2::{number}")
    assert attempt(password=PASSWORD, address="2001:db8:1:2:ffff::1").status_code == 429
    assert attempt(password=PASSWORD, address="2001:db8:1:3::1").status_code == 302


def test_another_browser_or_spelling_is_the_same_door(viewer_user: User) -> None:
    for number in range(5):
        attempt(**{"user-agent": f"browser {number}", "accept": f"text/html;q=0.{number}"})
    assert attempt(password=PASSWORD, **{"user-agent": "yet another"}).status_code == 429


def test_one_password_for_many_names_shuts_the_address(viewer_user: User, settings) -> None:
    settings.LOGIN_FAILURES_ADDRESS = 12
    codes = [attempt(name=f"name {number}").status_code for number in range(12)]
    assert codes == [200] * 11 + [429]
    assert attempt(password=PASSWORD).status_code == 429
    assert attempt(password=PASSWORD, address=ELSEWHERE).status_code == 302


def test_an_account_of_ones_own_does_not_clear_the_address(viewer_user: User, settings) -> None:
    """Who logs in as themselves between the guesses is counted on."""
    settings.LOGIN_FAILURES_ADDRESS = 10
    a_user("operator")
    for number in range(9):
        attempt(name=f"name {number}")
        if number % 3 == 0:
            assert attempt(password=PASSWORD).status_code == 302
    attempt(name="name 9")
    assert attempt(name="the operator", password=PASSWORD).status_code == 429


def test_trying_on_does_not_make_the_wait_longer_and_it_ends(viewer_user: User) -> None:
    fail(5)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=600))
    assert 290 < int(attempt()["Retry-After"]) <= 300
    fail(3)
    assert 290 < int(attempt()["Retry-After"]) <= 300
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=301))
    assert attempt(password=PASSWORD).status_code == 302


def test_an_administrator_unlocks_a_name_at_once(viewer_user: User, capsys: pytest.CaptureFixture[str]) -> None:
    fail(5)
    call_command("axes_reset_username", "the viewer")
    assert attempt(password=PASSWORD).status_code == 302


def test_old_attempts_are_tidied_at_the_next_one(viewer_user: User) -> None:
    fail(3)
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(seconds=1000))
    attempt(name="somebody else")
    assert [row.username == "the viewer" for row in AccessAttempt.objects.all()] == [False]


def test_the_admin_has_no_other_door(viewer_user: User) -> None:
    root = User.objects.create_superuser("root", password="a root's password")
    sent = Client().get("/admin/", follow=True)
    assert sent.redirect_chain[-1][0] == "/login/?next=/admin/"
    posted = attempt("root", "a root's password", path="/admin/login/")
    assert posted.status_code == 302
    assert posted["Location"].startswith("/login/")
    client = Client()
    client.force_login(root)
    assert client.get("/admin/login/?next=/admin/detection/media/")["Location"] == "/admin/detection/media/"
    assert client.get("/admin/login/?next=//evil.example/")["Location"] == "/admin/"
    assert client.get("/admin/login/?next=https://evil.example/")["Location"] == "/admin/"


def test_who_may_not_use_the_admin_is_told_so_and_not_sent_in_circles(viewer_user: User) -> None:
    client = Client()
    client.force_login(viewer_user)
    answer = client.get("/admin/", follow=True)
    assert answer.status_code == 403
    assert "may not use the administration" in answer.text


def test_each_refusal_is_one_line_that_says_who_and_from_where(
    viewer_user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    attempt()
    failed = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(failed) == 1
    assert "the viewer" in failed[0].getMessage()
    assert failed[0].client == HERE
    fail(4)
    caplog.clear()
    attempt()
    locked = said_of_refusal(caplog)
    assert len(locked) == 1
    assert "locked out" in locked[0]
    assert "the viewer" in locked[0]
    assert [record.name for record in caplog.records if record.name.startswith(("axes", "django"))] == []


def said_of_refusal(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The reasons in the lines, whether the line of the request has them or a line of its own."""
    reasons = (getattr(record, "reason", "") or record.getMessage() for record in caplog.records)
    return [reason for reason in reasons if "429" in reason or "locked out" in reason]


def test_no_password_is_kept_or_logged_whatever_field_it_was_typed_into(
    viewer_user: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "correct-horse-battery"
    for form in (
        {"username": "the viewer", "password": secret},
        {"username": secret, "password": "x"},
        {"username": "the viewer", "password": "x", "password2": secret, "passphrase": secret},
    ):
        for _ in range(6):
            Client().post(f"/login/?next=/&token={secret}", form, REMOTE_ADDR=HERE)
    kept = [str(vars(row)) for row in AccessAttempt.objects.all()]
    assert len(kept) == 2
    assert all(secret not in row for row in kept)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("axes", "detection"))]
    assert ours
    assert all(secret not in line for line in ours)


def test_the_lock_holds_while_the_cache_is_away(viewer_user: User, settings) -> None:
    from project.cache import configuration

    settings.CACHES = settings.CACHES | {"default": configuration("redis://127.0.0.1:9/0", "")}
    fail(5)
    assert attempt(password=PASSWORD).status_code == 429


def test_a_page_knows_whom_it_logs_in(viewer_user: User) -> None:
    client = Client()
    client.post("/login/", {"username": "the viewer", "password": PASSWORD})
    assert client.get("/").status_code == 200
    assert client.cookies["sessionid"]["httponly"]
    assert client.cookies["sessionid"]["samesite"] == "Lax"
