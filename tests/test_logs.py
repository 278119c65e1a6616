"""What the log is made of: one line an event, with what is needed to find it again, and without noise."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import TimeLimitExceeded, WorkerLostError
from django.db import InterfaceError, OperationalError
from django.utils.module_loading import import_string
from kombu.exceptions import OperationalError as BrokerAway

from detection import correlation
from project import lines, logs
from project.launcher import LINE_MAX_BYTES, Launcher, Program
from tests.conftest import ROOT

Say = Callable[[logging.Logger], object]


def written(say: Say, form: str = "json", name: str = "workers.steps") -> str:
    """What the handler of LOGGING writes, with all its filters."""
    config = logs.settings(form=form)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.formatter(form))
    for filter_name in config["handlers"]["line"]["filters"]:
        handler.addFilter(import_string(config["filters"][filter_name]["()"])())
    logger = logging.Logger(name, logging.DEBUG)  # noqa: LOG001 - of nobody else
    logger.addHandler(handler)
    say(logger)
    return stream.getvalue()


def events(say: Say, name: str = "workers.steps") -> list[dict[str, object]]:
    return [json.loads(line) for line in written(say, name=name).splitlines()]


# One line


def test_a_line_is_json_and_says_when_how_grave_what_who_and_whose() -> None:
    with correlation.bound("abc-1"):
        (event,) = events(lambda log: log.warning("%s is %s", "it", "late"))
    assert list(event)[:4] == ["timestamp", "level", "event", "correlation_id"]
    assert event["timestamp"].endswith("Z")
    facts = (event["level"], event["event"], event["correlation_id"], event["logger"], event["pid"])
    assert facts == ("warning", "it is late", "abc-1", "workers.steps", os.getpid())


def test_outside_of_any_there_is_no_correlation_id() -> None:
    (event,) = events(lambda log: log.info("alone"))
    assert "correlation_id" not in event


def test_plain_facts_are_kept_and_whole_objects_are_not() -> None:
    facts = {
        "status": 200,
        "share": 0.5,
        "stages_s": {"open": 1.5},
        "request": object(),
        "things": [1, 2],
        "content": b"\xff\xd8 a picture",
        "data": {"args": "[1]"},
    }
    (event,) = events(lambda log: log.info("done", extra=facts))
    assert (event["status"], event["share"], event["stages_s"]) == (200, 0.5, {"open": 1.5})
    assert event["content"] == "<12 bytes>"
    assert not {"request", "things", "data"} & set(event)


def test_a_fact_of_many_kilobytes_is_cut() -> None:
    (event,) = events(lambda log: log.info("done", extra={"sql": "x" * 100_000}))
    assert len(event["sql"]) == lines.LONGEST


def test_a_fact_that_somebody_made_a_megabyte_long_is_not_even_looked_at_beyond_what_is_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = []
    scrub = lines.scrub.scrub
    monkeypatch.setattr(lines.scrub, "scrub", lambda text: [looked_at.append(len(text)), scrub(text)][1])
    events(lambda log: log.info("done", extra={"reason": ";" * 1_000_000 + "="}))
    assert max(looked_at) == 4 * lines.LONGEST


def test_a_line_is_never_so_long_that_the_launcher_would_cut_it_and_a_traceback_keeps_its_end() -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError("x" * 300_000 + " and the end")
        except ValueError:
            log.exception("y" * 300_000)

    text = written(fail)
    assert len(text) < LINE_MAX_BYTES
    exception = json.loads(text)["exception"]
    assert exception.startswith("Traceback (most recent call last)")
    assert exception.endswith("x and the end")


def test_a_traceback_is_part_of_its_line() -> None:
    def fail(log: logging.Logger) -> None:
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("it failed")

    (event,) = events(fail)
    assert event["event"] == "it failed"
    assert event["exception"].startswith("Traceback")
    assert event["exception"].endswith("ValueError: bad")


def test_a_line_break_in_what_is_said_makes_no_second_line() -> None:
    text = written(lambda log: log.warning("one\n{“level”: “forged”}"))
    assert text.count("\n") == 1


def test_for_people_it_is_words_and_without_colours_where_nobody_looks() -> None:
    with correlation.bound("abc-1"):
        text = written(lambda log: log.warning("it is late", extra={"late_s": 3}), form="console")
    for words in ("warning", "it is late", "workers.steps", "correlation_id=abc-1", "late_s=3"):
        assert words in text
    assert "\x1b" not in text


def test_at_a_terminal_the_words_have_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.TERMINAL, "1")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert "\x1b[" in written(lambda log: log.warning("late"), form="auto")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[" not in written(lambda log: log.warning("late"), form="auto")


@pytest.mark.parametrize(("told", "is_words"), [("1", True), ("0", False)])
def test_who_is_started_by_the_launcher_goes_by_its_terminal(
    monkeypatch: pytest.MonkeyPatch, told: str, is_words: bool
) -> None:
    monkeypatch.setenv(logs.TERMINAL, told)
    assert logs.is_in_words("auto") is is_words
    assert logs.is_in_words("console")
    assert not logs.is_in_words("json")
    assert not logs.is_in_words("auto", to_file=True), "a file is for programs"


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/x/gunicorn/__main__.py", "project.wsgi"], "web"),
        (["/x/celery/__main__.py", "-q", "-A", "project", "worker", "-n", "analyse@%h", "-Q", "x"], "analyse"),
        (["/x/celery/__main__.py", "-A", "project", "worker"], "worker"),
        (["/x/celery/__main__.py", "-q", "-A", "project", "beat"], "beat"),
        (["/x/celery/__main__.py", "-A", "project", "flower", "--x"], "flower"),
        (["manage.py", "prune", "--dry-run"], "prune"),
        (["./manage.py"], "manage.py"),
        (["/usr/bin/pytest"], "pytest"),
        ([""], "python"),
        ([], "python"),
    ],
)
def test_a_process_is_called_by_what_it_does(argv: list[str], name: str) -> None:
    assert lines.process_of(argv) == name


# What is left out


def test_of_what_is_done_every_second_only_trouble_is_said() -> None:
    def say(log: logging.Logger) -> None:
        log.info("Scheduler: Sending due task sweep (workers.tasks.sweep)")
        log.warning("workers.tasks.sweep is late")

    assert [event["level"] for event in events(say, name="celery.beat")] == ["warning"]


def the_broker_is_away(log: logging.Logger) -> None:
    """As Celery's beat says it, each second."""
    try:
        try:
            raise ConnectionRefusedError(111, "refused")
        except ConnectionRefusedError as error:
            raise LookupError(f"Couldn't apply scheduled task sweep: {error}") from error
    except LookupError as error:
        stack = ['  File "x.py", line 1, in main\n', "    f()\n"]
        said = str(error)
        log.exception("Message Error: %s\n%s", said, stack)


def test_a_broker_that_is_away_is_one_line_with_its_cause_and_not_a_traceback_each_second() -> None:
    def say(log: logging.Logger) -> None:
        for _ in range(60):
            the_broker_is_away(log)

    (event,) = events(say, name="celery.beat")
    assert "exception" not in event
    assert "x.py" not in event["event"]
    assert "sweep" in event["event"]
    assert "refused" in event["event"]


def test_another_cause_is_said_as_well_and_the_same_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: clock[0])

    def fail(log: logging.Logger, cause: str) -> None:
        try:
            raise ConnectionError(cause)
        except ConnectionError:
            log.exception("lost")

    def say(log: logging.Logger) -> None:
        for moment, cause in [(0, "refused"), (1, "refused"), (2, "no route"), (29, "refused"), (31, "refused")]:
            clock[0] = 100.0 + moment
            fail(log, cause)

    said = [event["event"] for event in events(say, name="kombu.connection")]
    assert said == [
        "lost (ConnectionError: refused)",
        "lost (ConnectionError: no route)",
        "lost (ConnectionError: refused)",
    ]


def test_of_each_task_its_own_line_is_kept_and_of_what_comes_every_second_one() -> None:
    def fail(log: logging.Logger, task: str, number: int) -> None:
        try:
            raise OperationalError("connection refused")
        except OperationalError:
            log.exception("Task workers.tasks.%s[%s] raised unexpected", task, number)

    def say(log: logging.Logger) -> None:
        for number in range(3):
            fail(log, "sweep", number)
            fail(log, "notify", number)

    said = [str(event["event"]) for event in events(say, name="celery.app.trace")]
    assert [sum(task in line for line in said) for task in ("sweep", "notify")] == [1, 3]


@pytest.mark.parametrize(
    ("error", "has_traceback"),
    [
        (OperationalError("the database is away"), False),
        (InterfaceError("connection already closed"), False),
        (BrokerAway("refused"), False),
        (OperationalError("no such column: detection_camera.colour"), True),
        (OperationalError("database or disk is full"), True),
        (OSError("the storage is away"), True),
        (ValueError(), True),
    ],
)
def test_what_a_task_raised_keeps_its_traceback_unless_the_database_is_surely_away(
    error: Exception, has_traceback: bool
) -> None:
    def say(log: logging.Logger) -> None:
        try:
            raise error
        except Exception:
            log.exception("Task workers.tasks.tidy raised unexpected")

    (event,) = events(say, name="celery.app.trace")
    assert ("exception" in event) is has_traceback


def test_our_own_errors_are_never_taken_for_an_outage() -> None:
    (event,) = events(the_broker_is_away, name="workers.steps")
    assert "exception" in event


def test_of_a_process_that_died_celery_says_nothing_beside_us() -> None:
    def ended(error: Exception) -> Say:
        def say(log: logging.Logger) -> None:
            try:
                raise error
            except type(error):
                told = ExceptionInfo()
            log.error("Task handler raised error: %r", told.exception, exc_info=told.exc_info)

        return say

    assert written(ended(WorkerLostError("signal 9")), name="celery.worker.request") == ""
    assert written(ended(TimeLimitExceeded(60)), name="celery.worker.request") == ""
    assert "boom" in written(ended(ValueError("boom")), name="celery.worker.request")


# Settings


def test_levels_for_single_loggers_go_before_what_is_quiet_by_default() -> None:
    config = logs.settings(
        level="WARNING", levels=logs.levels("workers=debug, celery.app.trace = INFO,django.db=DEBUG")
    )
    assert config["root"]["level"] == "WARNING"
    named = config["loggers"]
    assert (named["workers"], named["celery.app.trace"]) == ({"level": "DEBUG"}, {"level": "INFO"})
    assert named["urllib3"] == {"level": "CRITICAL"}


@pytest.mark.parametrize("wrong", ["workers", "workers=LOUD", "=DEBUG", "workers:DEBUG"])
def test_levels_that_are_none_are_refused(wrong: str) -> None:
    with pytest.raises(ValueError):
        logs.levels(wrong)


@pytest.mark.parametrize("name", ["urllib3", "urllib3.connectionpool", "apprise", "http.client"])
def test_loggers_that_say_whole_addresses_cannot_be_switched_on(name: str) -> None:
    with pytest.raises(ValueError, match="log passwords"):
        logs.levels(f"{name}=DEBUG")


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    for wrong in (tmp_path, tmp_path / "no such folder" / "x.log"):
        with pytest.raises(ValueError, match="may write"):
            logs.file(str(wrong))
    assert logs.file("") is None
    assert logs.file(str(tmp_path / "x.log")) == tmp_path / "x.log"


def run(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, with the project's settings."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("LOG_")}
    return subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); import logging\n{code}"],
        cwd=ROOT,
        env={**given, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_real_process_writes_json_to_standard_error_and_nothing_twice() -> None:
    done = run(
        "logging.getLogger('django.request').error('one'); logging.getLogger('workers').info('two')", DEBUG="true"
    )
    assert [json.loads(line)["event"] for line in done.stderr.splitlines()] == ["one", "two"]
    assert done.stdout == ""


def test_debug_shows_more_and_a_level_that_is_set_counts() -> None:
    code = "logging.getLogger('workers').debug('fine'); logging.getLogger('botocore').debug('too fine')"
    assert [json.loads(line)["event"] for line in run(code, DEBUG="true").stderr.splitlines()] == ["fine"]
    assert run(code).stderr == ""
    assert "fine" in run(code, LOG_LEVELS="workers=DEBUG").stderr


def test_warnings_and_what_nobody_caught_are_lines_too() -> None:
    code = (
        "import threading, warnings\nwarnings.warn('old')\n"
        "thread = threading.Thread(target=lambda: 1 / 0, name='side'); thread.start(); thread.join()\n"
        "raise OSError('rtsp://admin:s3cret@10.0.0.5/')"
    )
    done = run(code)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [event["level"] for event in found] == ["warning", "critical", "critical"]
    assert "side" in found[1]["event"]
    assert "s3cret" not in done.stderr
    assert done.returncode == 1


WRITER = """
import os
children = []
for child in range(3):
    pid = os.fork()
    if not pid:
        for number in range(200):
            logging.getLogger("workers").info("line", extra={"child": f"{os.getppid()}-{child}", "number": number})
        os._exit(0)
    children.append(pid)
for number in range(200):
    logging.getLogger("workers").info("line", extra={"child": f"{os.getpid()}-main", "number": number})
raise SystemExit(max(os.waitpid(pid, 0)[1] for pid in children))
"""


def test_many_processes_share_one_file_that_is_put_aside_when_it_is_full(tmp_path: Path) -> None:
    """As a worker and its children, twice: nothing is lost, doubled or torn while the file is rotated."""
    environment = {"LOG_FILE": str(tmp_path / "nightjar.log"), "LOG_FILE_MAX_BYTES": "20000", "LOG_FILE_BACKUPS": "60"}
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", f"import django; django.setup(); import logging\n{WRITER}"],
            cwd=ROOT,
            env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings", **environment},
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for writer in writers:
        _, said = writer.communicate(timeout=300)
        assert (writer.returncode, said) == (0, "")
    files = list(tmp_path.glob("nightjar.log*"))
    found = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(found) == 2 * 4 * 200
    assert len({(event["child"], event["number"]) for event in found}) == len(found)
    assert len(files) > 3
    assert max(file.stat().st_size for file in files) < 21_000


# Through the launcher


def launched(**how: object) -> tuple[Launcher, io.BytesIO]:
    out = io.BytesIO()
    return Launcher([Program("web", "true")], cwd=ROOT, env={}, out=out, **{"colour": False, **how}), out


def test_a_line_of_json_stays_one_and_other_words_get_their_name_and_are_scrubbed() -> None:
    """What was not made by our log, as of a native library, may hold anything."""
    launcher, out = launched()
    launcher._print("web", b'{"event": "one"}')
    launcher._print("web", b"avformat: cannot open rtsp://admin:s3cret@10.0.0.5/x")
    one, other = out.getvalue().decode().splitlines()
    assert json.loads(one) == {"event": "one"}
    assert other.split(" | ") == ["web     ", "avformat: cannot open rtsp://•••@10.0.0.5/x"]


@pytest.mark.parametrize(
    "said",
    [
        b"{'password': 's3cret', 'host': 'x'}",
        b'{"password": "s3cret", "of": "a library"}',
        b'{"event": "torn", "url": "rtsp://admin:s3cret@10.0.0.5/x',
        b'{"password": "s3cret", "of": ' + b'{"x":' * 20_000,
        b'{"event": "\xff", "url": "rtsp://admin:s3cret@10.0.0.5/x"}',
    ],
)
def test_what_only_begins_like_a_line_of_json_is_scrubbed_like_all_that_others_say(said: bytes) -> None:
    launcher, out = launched()
    launcher._print("web", said)
    assert "s3cret" not in out.getvalue().decode()
    assert out.getvalue().decode().startswith("web      | {")


def test_the_launchers_own_words_are_json_where_all_others_are() -> None:
    launcher, out = launched(json=True)
    launcher.say("Nightjar is at …")
    event = json.loads(out.getvalue())
    assert (event["event"], event["process"], event["level"]) == ("Nightjar is at …", "nightjar", "info")
    launcher, out = launched()
    launcher.say("Nightjar is at …")
    assert out.getvalue().decode() == "nightjar | Nightjar is at …\n"
