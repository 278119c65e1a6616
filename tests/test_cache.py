"""The shared cache counts for all processes at once, and no page waits for it while it is away."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from project import cache
from project.cache import Breaker, LocalCache, SharedCache, beside, checked, configuration
from tests.chaos.servers import Redis
from tests.processes import wait_for
from tests.services import find_free_port


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path / "redis", "test-cache", find_free_port())
    server.prepare()
    server.start()
    yield server
    if server.process is not None:
        os.kill(server.process.pid, signal.SIGCONT)
    server.kill()


@pytest.fixture(autouse=True)
def _quick_breakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "_breakers", {})
    monkeypatch.setattr(cache.Breaker.__init__, "__defaults__", (0.3,))


def a_cache(url: str) -> SharedCache:
    made = configuration(url, "")
    return SharedCache(made["LOCATION"], made)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "project.cache"]


def test_values_come_back_as_they_were(server: Redis) -> None:
    shared = a_cache(server.url)
    for value in (0, 7, True, "text", 1.5, None, [1, "two"], {"a": {"b": [3]}}):
        shared.set("k", value)
        assert shared.get("k", "nothing") == value
    assert shared.add("k", 1) is False
    assert shared.get_or_set("fresh", lambda: {"made": 1}, 60) == {"made": 1}
    assert shared.get_many(["k", "fresh", "none"]) == {"k": {"a": {"b": [3]}}, "fresh": {"made": 1}}
    shared.set_many({"x": 1, "y": 2})
    assert shared.incr("x") == 2
    assert shared.has_key("y")
    assert shared.delete("y")
    with pytest.raises(ValueError, match="not found"):
        shared.incr("y")


def test_what_somebody_else_wrote_there_runs_nothing_and_counts_as_not_there(server: Redis, tmp_path: Path) -> None:
    import pickle

    import redis

    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "run").touch, ())

    shared = a_cache(server.url)
    redis.Redis.from_url(server.url).set(shared.make_key("k"), pickle.dumps(Evil()))
    assert shared.get("k", "nothing") == "nothing"
    assert shared.get_many(["k"]) == {}
    assert not (tmp_path / "run").exists()
    shared.set("k", 1)
    assert shared.get("k") == 1


def test_clearing_leaves_alone_what_is_not_ours(server: Redis) -> None:
    import redis

    client = redis.Redis.from_url(server.url)
    client.set("somebody-elses", 1)
    shared = a_cache(server.url)
    for number in range(1200):
        shared.set(f"k{number}", number)
    shared.clear()
    assert client.keys("*") == [b"somebody-elses"]


def test_processes_count_together_and_no_count_is_lost(server: Redis) -> None:
    code = (
        "from project.cache import *\n"
        f"made = configuration({server.url!r}, '')\n"
        "shared = SharedCache(made['LOCATION'], made)\n"
        "print([shared.count('k', 60) for _ in range(500)][-1])\n"
    )
    settings = "from django.conf import settings; settings.configure()\n"
    started = [
        subprocess.Popen([sys.executable, "-c", settings + code], stdout=subprocess.PIPE, cwd=Path(__file__).parents[1])
        for _ in range(3)
    ]
    last = [int(process.communicate(timeout=120)[0]) for process in started]
    assert max(last) == 1500
    assert a_cache(server.url).count("k", 60) == 1501


def test_threads_count_together_in_memory_too() -> None:
    local = LocalCache("threads", {})
    threads = [threading.Thread(target=lambda: [local.count("k", 60) for _ in range(300)]) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert local.count("k", 60) == 1801


def test_a_count_ends_with_its_time(server: Redis) -> None:
    shared = a_cache(server.url)
    assert shared.count("k", 1) == 1
    wait_for("the count to end", lambda: shared.get("k") is None)
    assert shared.count("k", 1) == 1


def test_a_server_that_stops_is_told_of_once_and_its_return_once(
    server: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    shared = a_cache(server.url)
    assert shared.count("k", 600) == 1
    server.kill()
    for _ in range(50):
        assert shared.count("k", 600) == 0
        assert shared.get("k", "default") == "default"
        assert shared.get_or_set("k", lambda: 5) == 5
        assert shared.add("k", 1) is False
        assert shared.get_many(["k"]) == {}
        assert shared.set_many({"k": 1}) == ["k"]
        shared.set("k", 1)
        with pytest.raises(ValueError, match="not found"):
            shared.incr("k")
    assert len(lines(caplog)) == 1
    assert "is away" in lines(caplog)[0]
    server.start()
    wait_for("the count", lambda: shared.count("k", 600))
    assert len(lines(caplog)) == 2
    assert "is back" in lines(caplog)[1]


def test_a_restart_in_between_is_not_noticed(server: Redis, caplog: pytest.LogCaptureFixture) -> None:
    shared = a_cache(server.url)
    shared.count("k", 600)
    server.kill()
    server.start()
    assert shared.count("k", 600) == 1
    assert lines(caplog) == []


def test_a_server_that_hangs_is_waited_for_once_and_not_by_each(
    server: Redis, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cache.Breaker.__init__, "__defaults__", (60.0,))
    shared = a_cache(server.url)
    shared.set("k", 1)
    assert server.process is not None
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    for _ in range(100):
        assert shared.get("k", "default") == "default"
    assert time.monotonic() - began < 5  # half a second, on a machine with much else to do
    assert len(lines(caplog)) == 1


def test_one_thread_at_a_time_finds_out_whether_it_is_back() -> None:
    breaker = Breaker(60)
    assert breaker.lets_through()
    breaker.failed(OSError("away"))
    assert not breaker.lets_through()
    breaker._until = 0.0
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    breaker.worked()
    assert breaker.lets_through()


def test_the_password_is_in_no_line(caplog: pytest.LogCaptureFixture) -> None:
    a_cache("redis://user:s3cret@127.0.0.1:9/0").get("k")
    assert len(lines(caplog)) == 1
    assert "s3cret" not in lines(caplog)[0]


@pytest.mark.parametrize(
    ("broker", "url"),
    [
        ("redis://h:6379/0", "redis://h:6379/1"),
        ("redis://h", "redis://h/1"),
        ("redis://:p%40ss@h:6379/3?x=y", "redis://:p%40ss@h:6379/4"),
        ("rediss://u:p@h:6379/15", "rediss://u:p@h:6379/14"),
        (
            "rediss://:p@h?ssl_ca_certs=/etc/ca%20s.pem&ssl_cert_reqs=CERT_REQUIRED&virtual_host=2",
            "rediss://:p@h/3?ssl_ca_certs=%2Fetc%2Fca+s.pem&ssl_cert_reqs=required",
        ),
        ("redis+socket:///run/my%20app/broker.sock", "unix:///run/my%20app/broker.sock?db=1"),
        ("redis+socket:///run/b.sock?virtual_host=2", "unix:///run/b.sock?db=3"),
        ("amqp://guest:guest@h//", ""),
        ("sentinel://h:26379", ""),
    ],
)
def test_it_lies_beside_the_broker_where_that_can_be(broker: str, url: str) -> None:
    assert beside(broker) == url
    assert checked(url) == url, "redis-py knows its options"


def test_with_rabbitmq_each_process_counts_for_itself() -> None:
    assert configuration("", "amqp://h//")["BACKEND"] == "project.cache.LocalCache"
    assert configuration("local", "redis://h/0")["BACKEND"] == "project.cache.LocalCache"
    assert configuration("redis://h:1/5", "amqp://h//")["LOCATION"] == ["redis://h:1/5"]


@pytest.mark.parametrize(
    "url",
    [
        "redis://h",
        "redis://h:6379/1",
        "rediss://u:p%40ss@h:6379/1",
        "redis://h/1?health_check_interval=10",
        "unix:///s?db=1",
        "local",
        "",
    ],
)
def test_an_address_of_a_cache_is_taken(url: str) -> None:
    assert checked(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "memcached://h",
        "redis://",
        "/run/sock",
        "h:6379",
        "sentinel://h",
        "redis://127.0.0.1:99x/1",
        "redis://h:99999/1",
        "redis://h/one",
        "redis://h/-1",
        "unix:///s?db=x",
        "redis://h/1?no_such_option=1",
    ],
)
def test_what_is_no_address_of_a_cache_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis://HOST"):
        checked(url)


def test_it_works_on_the_embedded_brokers_socket(tmp_path: Path) -> None:
    from project import broker

    folder = Path("/tmp") / f"nj-cache-{os.getpid()}"
    process = subprocess.Popen(broker.command(folder))
    try:
        wait_for("the broker", lambda: broker.answers(broker.socket_path(folder)))
        shared = a_cache(beside(broker.embedded_url(folder)))
        assert shared.count("k", 60) == 1
        assert shared.count("k", 60) == 2
    finally:
        process.kill()
        process.wait()
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def test_the_doctor_says_how_it_is(server: Redis, settings, monkeypatch: pytest.MonkeyPatch) -> None:
    from project.doctor.connections import shared_cache
    from project.doctor.findings import Level

    def said() -> tuple[Level, str]:
        (finding,) = shared_cache()
        return finding.level, finding.sentence

    settings.BROKER_IS_EMBEDDED = False
    settings.CACHES = settings.CACHES | {"default": configuration(server.url, "")}
    assert said() == (Level.OK, "answers.")
    server.kill()
    level, sentence = said()
    assert level == Level.WARNING
    assert "not counted against their limits" in sentence
    settings.BROKER_IS_EMBEDDED = True  # and does not run, but nor does the cache lie beside it
    monkeypatch.setenv("CACHE_URL", server.url)
    assert said()[0] == Level.WARNING
    monkeypatch.delenv("CACHE_URL")
    assert said() == (Level.OK, "beside the embedded broker, it starts with `make run`.")
    settings.CACHES = settings.CACHES | {"default": configuration("local", "")}
    assert said()[0] == Level.OK
    settings.WEB_PROCESSES = 4
    level, sentence = said()
    assert level == Level.WARNING
    assert "set CACHE_URL" in sentence
