"""What the processes count and time, each instrument with its name, meaning and labels.

The sets of labels are bounded whatever comes from outside: what is beyond an instrument's most is counted as “other”.
Nothing here raises, whatever the folder of the metrics is like (store.py). Names and units are those that Prometheus
recommends; what can be read from the rows is not counted here, but read at each scrape (rows.py).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence

from django.conf import settings
from prometheus_client.utils import floatToGoString

from detection.metrics.store import key, store

OTHER = "other"
LABEL_LONGEST = 60
DOORS = (
    "login_failed", "login_locked", "csrf", "rate_login", "rate_upload", "rate_verdict", "rate_list", "rate_trial"
)  # fmt: skip
NOT_KEPT = ("disk_full", "not_kept", "storage_away")  # why an upload that was well could not be kept
QUICK = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
LONG = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)

Values = tuple[str, ...]
INSTRUMENTS: list[Counter | Histogram] = []


class _Instrument:
    """``most`` is how many sets of label values have series of their own."""

    kind = ""

    def __init__(self, name: str, meaning: str, labels: Sequence[str] = (), most: int = 100) -> None:
        self.name = name
        self.meaning = meaning
        self.labels = tuple(labels)
        self.most = most
        self._keys: dict[Values, tuple[str, ...]] = {}

    def _keys_of(self, values: Values) -> tuple[str, ...]:
        keys = self._keys.get(values)
        return keys if keys is not None else self._new(values)

    def _new(self, given: Values) -> tuple[str, ...]:
        values = tuple(str(value)[:LABEL_LONGEST].encode("utf-8", "replace").decode() for value in given)
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, not {given}")
        if len(self._keys) >= self.most and values not in self._keys:
            values = (OTHER,) * len(self.labels)
        if values not in self._keys:
            self._keys[values] = self._make_keys(values)
        return self._keys[values]

    def _make_keys(self, values: Values) -> tuple[str, ...]:
        raise NotImplementedError


class Counter(_Instrument):
    """Counts. The series of ``zeros`` are there from the start, at 0, so that the first of a kind is seen as a rise."""

    kind = "counter"

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        most: int = 100,
        zeros: Iterable[Values] | Callable[[], Iterable[Values]] = (),
    ) -> None:
        super().__init__(name, meaning, labels, most)
        self._zeros = zeros
        INSTRUMENTS.append(self)

    @property
    def zeros(self) -> list[Values]:
        if not self.labels:
            return [()]
        return list(self._zeros() if callable(self._zeros) else self._zeros)

    def add(self, *values: str, by: float = 1) -> None:
        self.add_all({values: by})

    def add_all(self, amounts: Mapping[Values, float]) -> None:
        """As ``add``, for several series at once."""
        store().add(*((self.kind, self._keys_of(values)[0], by) for values, by in amounts.items()))

    def _make_keys(self, values: Values) -> tuple[str, ...]:
        return (key(self.name, f"{self.name}_total", self.labels, values, self.meaning),)


class Histogram(_Instrument):
    """Times: how many took how long at most, in seconds."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        meaning: str,
        labels: Sequence[str] = (),
        most: int = 50,
        buckets: Sequence[float] = QUICK,
    ) -> None:
        super().__init__(name, meaning, labels, most)
        self.buckets = (*buckets, float("inf"))
        INSTRUMENTS.append(self)

    def observe(self, amount: float, *values: str) -> None:
        keys = self._keys_of(values)
        bucket = keys[1 + bisect_left(self.buckets, amount)]
        store().add((self.kind, keys[0], max(0.0, amount)), (self.kind, bucket, 1.0))

    def _make_keys(self, values: Values) -> tuple[str, ...]:
        of_bucket = [
            key(
                self.name,
                f"{self.name}_bucket",
                (*self.labels, "le"),
                (*values, floatToGoString(upper)),
                self.meaning,
            )
            for upper in self.buckets
        ]
        return (key(self.name, f"{self.name}_sum", self.labels, values, self.meaning), *of_bucket)


# The web

REQUESTS = Counter(
    "nightjar_requests", "Requests answered, by the name of their route.", ("view", "method", "status"), most=1000
)
REQUEST_SECONDS = Histogram(
    "nightjar_request_seconds", "From a request's arrival to the start of its answer.", ("view",), most=150
)
UPLOADS = Counter(
    "nightjar_uploads",
    "Uploaded files by what came of them, the refused by why.",
    ("outcome", "reason"),
    zeros=[("accepted", ""), ("known", ""), *(("refused", reason) for reason in NOT_KEPT)],
)
UPLOAD_BYTES = Counter("nightjar_upload_bytes", "Bytes of the uploaded files that were accepted.")
VERDICTS = Counter("nightjar_verdicts", "What people said of sightings, by kind.", ("kind",), most=20)
REFUSALS = Counter(
    "nightjar_refusals",
    "Requests that were refused at the door, by why.",
    ("reason",),
    most=40,
    zeros=[(reason,) for reason in DOORS],
)

# The workers


def _ends_that_alerts_ask_for() -> list[Values]:
    tasks = [task.rpartition(".")[2] for task in settings.CELERY["task_routes"]]
    bad = [(task, outcome) for task in tasks for outcome in ("failed", "crashed", "too long")]
    return [*bad, ("sweep", "done")]  # whose standing still is told where not one has got through, too


TASKS = Counter(
    "nightjar_tasks", "Tasks by name and how they ended.", ("task", "outcome"), zeros=_ends_that_alerts_ask_for
)
TASK_SECONDS = Histogram("nightjar_task_seconds", "How long tasks took.", ("task",), buckets=LONG)
STAGE_SECONDS = Histogram(
    "nightjar_stage_seconds", "How long each stage of an analysis took, of a clip in each chunk.", ("stage",),
    buckets=LONG,
)  # fmt: skip
RESULT_SECONDS = Histogram(
    "nightjar_result_seconds",
    "From when an analysis began to wait, anew where it was handed back or retried, to its stored result.",
    ("lane", "media"),
    buckets=LONG,
)
FRAMES = Counter(
    "nightjar_frames",
    "Frames that were read, of these sampled, and of these looked at by the detector (inferred).",
    ("step",),
    zeros=[("read",), ("sampled",), ("inferred",)],
)
INFERENCE_SECONDS = Histogram(
    "nightjar_inference_seconds",
    "How long a call of the detector took, which is given a batch of pictures.",
    ("model", "runtime"),
    most=20,
)
SIGHTINGS = Counter("nightjar_sightings", "Sightings stored, by label.", ("label",))
CAPTURES = Counter(
    "nightjar_captures",
    "Planned times by what became of them, and the state of the camera by then.",
    ("outcome", "camera_state"),
)
CAPTURE_DELAY_SECONDS = Histogram(
    "nightjar_capture_delay_seconds",
    "From the planned time to the stored picture, by the state of the camera.",
    ("camera_state",),
)
CAPTURE_FAILURES = Counter("nightjar_capture_failures", "Attempts to grab a picture that failed, by why.", ("kind",))
RETENTION_MEDIA = Counter("nightjar_retention_media", "Media that retention removed.")
RETENTION_BYTES = Counter("nightjar_retention_bytes", "Bytes that retention set free.")
