"""The dashboard and the alert rules ask for what is really exported: each metric, each label, each value of a label."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.cache import cache
from django.urls import reverse
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from detection.metrics import instruments, store
from detection.metrics.instruments import INSTRUMENTS, Counter
from detection.models import Camera, CameraEvent, Heartbeat, Media, Notification
from detection.models.clock import now
from detection.models.heartbeat import Sign
from detection.views import metrics_middleware as web
from detection.views import uploads
from tests.cast import a_camera, a_capture, a_media, a_model, a_user
from tests.conftest import ROOT
from tests.counting import series
from tests.services import absent
from workers import outcome, tasks

try:
    import promql_parser as promql
except ImportError:
    promql = None

pytestmark = pytest.mark.django_db
DEPLOY = ROOT / "deploy"
OF_PROMETHEUS = {"job", "instance"}  # labels that it adds to everything
NOT_OURS = {"up"}
TASKS = [name for name in vars(tasks) if getattr(getattr(tasks, name), "name", "") == f"workers.tasks.{name}"]
STATUSES = [f"{hundreds}xx" for hundreds in range(1, 6)]

# How each instrument is used, as (values of its first label, of its second, ...), by the code that uses it.
USED: dict[str, list[tuple[str, ...]]] = {
    "nightjar_requests": list(product(["upload", "sightings", web.STATIC, web.NO_ROUTE], ["GET", "POST"], STATUSES)),
    "nightjar_request_seconds": [("upload",), ("sightings",), (web.STATIC,), (web.NO_ROUTE,)],
    "nightjar_uploads": [("accepted", ""), ("known", ""), *(("refused", reason) for reason in uploads.FAULTS)],
    "nightjar_upload_bytes": [()],
    "nightjar_verdicts": [("confirmed",), ("withdrawn",)],
    "nightjar_refusals": [("rate_login",), ("login_failed",), ("login_locked",), ("csrf",)],
    "nightjar_tasks": list(product(TASKS, outcome.OUTCOMES)),
    "nightjar_task_seconds": [(task,) for task in TASKS],
    "nightjar_stage_seconds": [("plan",), ("decode",), ("infer",), ("track",), ("store",), ("copy",)],
    "nightjar_result_seconds": list(product(["interactive", "bulk"], Media.Kind.values)),
    "nightjar_frames": [("read",), ("sampled",), ("inferred",)],
    "nightjar_inference_seconds": [("yard", "openvino")],
    "nightjar_sightings": [("car",), ("person",)],
    "nightjar_captures": list(product(["grabbed", "failed", "missed"], Camera.State.values)),
    "nightjar_capture_delay_seconds": [(state,) for state in Camera.State.values],
    "nightjar_capture_failures": [("timeout",), ("disk_full",)],
    "nightjar_retention_media": [()],
    "nightjar_retention_bytes": [()],
}


@dataclass
class Exported:
    """What one sample name has."""

    labels: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


@pytest.fixture
def families(settings, tmp_path, monkeypatch, client) -> Iterator[list[Metric]]:
    """The metrics of a system in which everything has happened once."""
    settings.METRICS_DIR = str(tmp_path)
    settings.METRICS_TOKEN = "for-this-test"
    monkeypatch.setattr(store, "_store", None)
    cache.clear()
    for instrument in INSTRUMENTS:
        for values in USED[instrument.name]:
            if isinstance(instrument, Counter):
                instrument.add(*values)
            else:
                instrument.observe(0.1, *values)
    _rows()
    answer = client.get(reverse("metrics"), headers={"Authorization": "Bearer for-this-test"})
    assert answer.status_code == 200
    yield list(text_string_to_metric_families(answer.content.decode()))
    store.store().close()
    cache.clear()


def _rows() -> None:
    a_model().activate()
    a_media()
    a_user()
    camera = a_camera("Gate", state="ok", last_good_at=now())
    a_capture(camera, at=now(), finished_at=now())
    for channel, state in product(Notification.Channel.values, Notification.State.values):
        event = CameraEvent.objects.create(camera=camera, kind="offline", at=now())
        Notification.objects.create(event=event, channel=channel, state=state, due_at=now())
    for kind in Heartbeat.Kind.values:
        Heartbeat.beat(
            Sign(
                name=f"{kind}@host",
                kind=kind,
                host="host",
                pid=1,
                version="1",
                queues=["analyse"],
                slots=1,
                memory_bytes=1,
                largest_bytes=1,
                has_broker=True,
                up_s=1,
            )
        )


@pytest.fixture
def exported(families) -> dict[str, Exported]:
    found: dict[str, Exported] = {name: Exported() for name in NOT_OURS}
    for family in families:
        for sample in family.samples:
            labels = found.setdefault(sample.name, Exported()).labels
            for label, value in sample.labels.items():
                labels[label].add(value)
    return found


@dataclass(frozen=True)
class Query:
    """An expression, where it stands, and the labels that the words beside it name."""

    where: str
    text: str
    words: str


def alerts() -> list[Query]:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    return [
        Query(rule["alert"], rule["expr"], rule["annotations"]["summary"])
        for group in rules["groups"]
        for rule in group["rules"]
    ]


def panels() -> list[Query]:
    dashboard = json.loads((DEPLOY / "grafana" / "nightjar.json").read_text())
    return [
        Query(panel["title"], target["expr"], target["legendFormat"])
        for panel in dashboard["panels"]
        for target in panel.get("targets", [])
    ]


def parsed(query: Query) -> Any:
    if promql is None:
        absent("promql-parser, which reads the queries, is not installed: pip install -r requirements-dev.txt")
    text = query.text.replace("$__rate_interval", "5m").replace("$job", ".*")
    return promql.parse(text)


def selectors(expression: Any) -> list[Any]:
    found: list[Any] = []

    def visit(each: Any) -> None:
        if isinstance(each, promql.VectorSelector):
            found.append(each)
        elif isinstance(each, promql.MatrixSelector):
            found.append(each.vector_selector)

    promql.walk(expression, visit)
    return found


def labels_of(expression: Any, exported: dict[str, Exported]) -> set[str]:
    """Which labels the result of an expression has."""
    match expression:
        case promql.VectorSelector():
            return set(exported[expression.name].labels) | OF_PROMETHEUS
        case promql.MatrixSelector():
            return labels_of(expression.vector_selector, exported)
        case promql.AggregateExpr():
            inner = labels_of(expression.expr, exported)
            if "topk" in str(expression.op) or expression.prettify().startswith("topk"):
                return inner
            named = set(expression.modifier.labels) if expression.modifier else set()
            assert named <= inner, f"{named - inner} is no label of {expression.expr.prettify()}"
            by = expression.modifier is not None and expression.modifier.type == promql.AggModifierType.By
            return named if by or not expression.modifier else inner - named
        case promql.Call():
            if expression.func.name == "absent":
                return set()
            inner = set().union(*(labels_of(each, exported) for each in expression.args))
            return inner - {"le"} if expression.func.name == "histogram_quantile" else inner
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels_of(expression.expr, exported)
        case promql.BinaryExpr():
            right = labels_of(expression.rhs, exported)  # looked into, too
            return labels_of(expression.lhs, exported) or right
        case _:
            return set()


def named_in(words: str) -> set[str]:
    return set(re.findall(r"\$labels\.(\w+)", words)) | set(re.findall(r"\{\{(\w+)\}\}", words))


def test_there_are_some():
    assert len(alerts()) > 15
    assert len(panels()) > 40


def test_each_instrument_is_used_here():
    assert {instrument.name for instrument in INSTRUMENTS} == set(USED)


def test_uploads_that_could_not_be_kept_are_there_from_the_start_by_each_reason_and_paged_for():
    """A series that begins at 1 is no rise to Prometheus: nobody would be told of the first."""
    assert {reason for how, reason in instruments.UPLOADS.zeros if how == "refused"} == set(uploads.FAULTS)
    (alert,) = (alert for alert in alerts() if alert.where == "NightjarUploadsNotKept")
    (reasons,) = re.findall(r'reason=~"([^"]*)"', alert.text)
    assert set(reasons.split("|")) == set(uploads.FAULTS)


def test_an_alert_that_waits_for_no_rise_asks_for_what_is_there_from_the_start():
    """Of a series that is not there nothing can be said, not even that it stands still."""
    zeros = {f"{each.name}_total": (each.labels, each.zeros) for each in INSTRUMENTS if isinstance(each, Counter)}
    standing = [alert for alert in alerts() if re.search(r"(increase|rate)\(.*== 0", alert.text)]
    assert standing
    for alert in standing:
        for selector in selectors(parsed(alert)):
            labels, there = zeros[selector.name]
            wanted = tuple({each.name: each.value for each in selector.matchers.matchers}[label] for label in labels)
            assert wanted in there, alert.where


def test_each_state_of_a_notification_is_there_before_the_first_comes(client, settings):
    settings.METRICS_TOKEN = "for-this-test"
    answer = client.get(reverse("metrics"), headers={"Authorization": "Bearer for-this-test"})
    told = series(answer.content.decode(), "nightjar_notifications")
    assert told == dict.fromkeys(product(Notification.Channel.values, Notification.State.values), 0.0)


def test_an_alert_says_that_beat_is_gone_also_where_its_row_stays():
    """Rows of processes that are gone are forgotten by a task that beat sends."""
    (alert,) = (alert for alert in alerts() if alert.where == "NightjarNoBeat")
    parts = parsed(alert).lhs
    while isinstance(parts, promql.ParenExpr):
        parts = parts.expr
    assert {selector.name for selector in selectors(parts.lhs)} == {"nightjar_heartbeat_age_seconds"}
    assert parts.lhs.prettify() == 'min(nightjar_heartbeat_age_seconds{kind="beat"}) > 60'
    assert parts.rhs.prettify() == 'absent(nightjar_heartbeat_age_seconds{kind="beat"})'


def test_each_query_asks_for_what_is_exported(exported):
    """One test for all, as the system that everything has happened in takes a while to make."""
    wrong = [problem for query in [*alerts(), *panels()] for problem in problems(query, exported)]
    assert not wrong, "\n".join(wrong)


def problems(query: Query, exported: dict[str, Exported]) -> list[str]:
    found = []
    expression = parsed(query)
    for selector in selectors(expression):
        there = exported.get(selector.name)
        if there is None:
            found.append(f"{query.where}: nothing is called {selector.name}")
            continue
        for matcher in selector.matchers.matchers:
            if matcher.name in OF_PROMETHEUS:
                continue
            if matcher.name not in there.labels:
                found.append(f"{query.where}: {selector.name} has no label {matcher.name}")
                continue
            never = set(matcher.value.split("|")) - there.labels[matcher.name]
            found += [f"{query.where}: {matcher.name} of {selector.name} is never {value}" for value in never]
    if not found and (missing := named_in(query.words) - labels_of(expression, exported)):
        found.append(f"{query.where}: the result has no label {missing}")
    return found


@pytest.mark.parametrize(
    ("text", "words", "problem"),
    [
        ("nightjar_no_such_thing > 0", "", "nothing is called nightjar_no_such_thing"),
        ('nightjar_tasks_total{colour="red"}', "", "has no label colour"),
        ('nightjar_tasks_total{outcome=~"failed|burnt"}', "", "is never burnt"),
        ("sum by (task) (nightjar_tasks_total)", "{{ $labels.outcome }}", "has no label {'outcome'}"),
        ("sum by (task) (nightjar_tasks_total)", "{{task}}", ""),
    ],
)
def test_what_is_wrong_is_found(exported, text, words, problem):
    found = problems(Query("here", text, words), exported)
    assert found == [] if not problem else problem in " ".join(found)


def test_a_sum_by_a_label_that_is_not_there_is_found(exported):
    with pytest.raises(AssertionError, match="colour"):
        problems(Query("here", "sum by (colour) (rate(nightjar_tasks_total[5m]))", ""), exported)


def test_each_metric_has_a_meaning_and_a_name_with_its_unit(families):
    """As Prometheus recommends: base units, and what is counted ends in _total."""
    ours = [family for family in families if family.name.startswith("nightjar")]
    assert len(ours) == len(families) > 35
    for family in ours:
        assert re.fullmatch(r"nightjar_[a-z0-9]+(_[a-z0-9]+)*", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert not re.search(r"_(ms|millis|minutes|hours|kb|mb|gb|percent|ratio|count|sum)$", family.name), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        samples = {sample.name for sample in family.samples}
        if family.type == "counter":
            assert samples == {f"{family.name}_total"}, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        if re.search(r"\b(bytes)\b", family.documentation, re.IGNORECASE) and family.type == "gauge":
            assert family.name.endswith("_bytes"), family.name


def test_no_metric_comes_twice(families):
    names = [family.name for family in families]
    assert len(names) == len(set(names))


def test_each_metric_is_described_and_what_is_described_is_there(families, exported):
    texts = [*sorted((ROOT / "docs").glob("*.md")), *sorted(path for path in DEPLOY.rglob("*") if path.is_file())]
    named = {path: set(re.findall(r"\bnightjar_[a-z0-9_]*[a-z0-9]\b", _text(path))) for path in texts}
    names = set(exported) | {family.name for family in families}
    # Volumes and users of a database may be called nightjar_… as well.
    of_metrics = re.compile("nightjar_(" + "|".join({name.split("_")[1] for name in names if "_" in name}) + ")_")
    for path, mentioned in named.items():
        unknown = {name for name in mentioned - names if of_metrics.match(f"{name}_")}
        assert not unknown, f"{path} names {unknown}"
    described = named[DEPLOY / "prometheus" / "README.md"] | named[ROOT / "docs" / "cameras.md"]
    for family in families:
        assert described & {family.name, f"{family.name}_total"}, f"{family.name} is described nowhere"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="ignore")


def test_each_alert_says_how_bad_it_is_and_what_to_do():
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    for group in rules["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket"), rule["alert"]
            assert rule["alert"].startswith("Nightjar")
            assert ": " in rule["annotations"]["summary"], f"{rule['alert']}: what is to be done?"


def test_the_example_of_a_scrape_names_the_path_and_the_job_that_the_rest_expects():
    (scrape,) = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert scrape["metrics_path"] == reverse("metrics")
    assert scrape["job_name"] == "nightjar"
    assert "credentials" not in scrape["authorization"]  # the token is in a file of its own


def test_panels_have_their_own_number_and_place():
    dashboard = json.loads((DEPLOY / "grafana" / "nightjar.json").read_text())
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    taken: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        at = panel["gridPos"]
        cells = set(product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
