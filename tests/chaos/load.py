"""People at the pages while everything dies: they upload, insist, upload the same again, cancel, and retry."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import requests
from django.db import Error as DatabaseFault
from django.db import connection

from detection.models import Analysis, Work
from tests.chaos.media import Sample

AGAIN_S = 0.5
JSON = {"Accept": "application/json"}


class NoAnswer(Exception):
    """The server did not answer, or said that it cannot: the client comes again."""


class Client:
    """Somebody who is signed in, and signs in again where need be."""

    def __init__(self, address: str, password: str) -> None:
        self.address, self.password = address, password
        self.http = requests.Session()

    def get(self, path: str) -> requests.Response:
        return self._answer(lambda: self.http.get(self.address + path, timeout=20))

    def post(self, path: str, data: dict[str, str] | None = None, **more: object) -> requests.Response:
        form = {"csrfmiddlewaretoken": self.http.cookies.get("csrftoken", ""), **(data or {})}
        headers = {"Referer": self.address + path, **JSON}
        return self._answer(
            lambda: self.http.post(
                self.address + path, data=form, headers=headers, timeout=60, allow_redirects=False, **more
            )
        )

    def sign_in(self) -> None:
        self.get("/login/")
        answer = self.post("/login/", {"username": "admin", "password": self.password})
        if answer.status_code != 302:
            raise NoAnswer(f"the login was answered with {answer.status_code}")

    def _answer(self, ask: Callable[[], requests.Response]) -> requests.Response:
        try:
            answer = ask()
        except requests.RequestException as error:
            raise NoAnswer(type(error).__name__) from error
        if answer.status_code >= 500:
            raise NoAnswer(str(answer.status_code))
        if answer.headers.get("Location", "").startswith("/login/") or answer.status_code == 403:
            self.http.cookies.clear()  # signed out, or the token is from another session
            raise NoAnswer(f"{answer.status_code}, signed out")
        return answer


@dataclass
class Told:
    """What the people were told, and what they did."""

    accepted: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)  # good files that the server called bad
    answers: Counter[str] = field(default_factory=Counter)
    cancelled: int = 0
    retried: int = 0
    resubmitted: int = 0


class Load:
    """All of them, each in a thread of their own."""

    def __init__(
        self,
        client: Callable[[], Client],
        samples: Sequence[Sample],
        how_far: Callable[[], float],
        seed: int,
        on_cancel: Callable[[int], None],
        may_cancel: Callable[[], bool],
    ) -> None:
        self.client, self.samples, self.how_far, self.seed, self.on_cancel = client, samples, how_far, seed, on_cancel
        self.may_cancel = may_cancel
        self.told = Told()
        self.poison = {sample.sha256 for sample in samples if sample.poison}
        # Every tenth is sent by two at once.
        twice = [2 if number % 10 == 5 else 1 for number in range(len(samples))]
        self._queue = [n for number, times in enumerate(twice) for n in [number] * times]
        self._next = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._cancelling = threading.Event()
        self._cancelling.set()
        self._uploaders = [threading.Thread(target=self._upload_all, args=(n,), daemon=True) for n in range(3)]
        self._user = threading.Thread(target=self._meddle, daemon=True)

    def start(self) -> None:
        for thread in (*self._uploaders, self._user):
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in (*self._uploaders, self._user):
            if thread.ident is not None:
                thread.join(timeout=90)

    def calm_down(self) -> None:
        """Nobody cancels any more; what was cancelled is still retried."""
        self._cancelling.clear()

    @property
    def all_accepted(self) -> bool:
        return len(self.told.accepted) == len(self.samples)

    # ---- those who upload

    def _upload_all(self, number: int) -> None:
        rng = random.Random(self.seed * 10 + number)
        client = self.client()
        while (found := self._take()) is not None:
            share, sample = found
            while self.how_far() < share and not self._stop.wait(0.1):
                pass
            self._insist(client, sample)
            if rng.random() < 0.2:  # somebody sends the same again
                self.told.resubmitted += 1
                self._insist(client, self.samples[rng.choice(self._queue[: self._next])])

    def _take(self) -> tuple[float, Sample] | None:
        """The next file, and how much of the faults is to be over before it is sent."""
        with self._lock:
            if self._stop.is_set() or self._next >= len(self._queue):
                return None
            number = self._queue[self._next]
            self._next += 1
        return number / len(self.samples), self.samples[number]

    def _insist(self, client: Client, sample: Sample) -> None:
        """Uploads until it is accepted, through whatever happens."""
        while not self._stop.is_set():
            with suppress(NoAnswer):
                if self._upload(client, sample):
                    return
            self._stop.wait(AGAIN_S)

    def _upload(self, client: Client, sample: Sample) -> bool:
        if "sessionid" not in client.http.cookies:
            client.sign_in()
        try:
            with Path(sample.path).open("rb") as file:
                answer = client.post("/upload/", files=[("files", (sample.name, file, "application/octet-stream"))])
        except NoAnswer as error:
            self.told.answers[str(error)] += 1
            raise
        self.told.answers[str(answer.status_code)] += 1
        if answer.status_code in (200, 201):
            outcome = answer.json()["files"][0]["outcome"]
            if outcome in ("accepted", "known"):
                self.told.accepted.add(sample.sha256)
                return True
        if answer.status_code in (413, 415, 422):
            self.told.refused.append(f"{sample.name}: {answer.text[:300]}")
        return False

    # ---- the one who cancels and retries

    def _meddle(self) -> None:
        rng = random.Random(self.seed)
        client = self.client()
        while not self._stop.wait(1.0):
            with suppress(NoAnswer, DatabaseFault):
                if "sessionid" not in client.http.cookies:
                    client.sign_in()
                if self._cancelling.is_set() and self.may_cancel() and rng.random() < 0.12:
                    self._cancel_one(client, rng)
                self._retry_cancelled(client, rng)
            connection.close()
        connection.close()

    def _cancel_one(self, client: Client, rng: random.Random) -> None:
        open_ones = Analysis.objects.filter(Work.UNFINISHED).exclude(media__sha256__in=self.poison)
        pks = list(open_ones.values_list("pk", flat=True))
        if pks:
            pk = rng.choice(pks)
            self.on_cancel(pk)
            if client.post(f"/analyses/{pk}/cancel").status_code == 302:
                self.on_cancel(pk)
                self.told.cancelled += Analysis.objects.filter(pk=pk, state=Analysis.State.CANCELLED).count()

    def _retry_cancelled(self, client: Client, rng: random.Random) -> None:
        for pk in Analysis.objects.filter(state=Analysis.State.CANCELLED).values_list("pk", flat=True):
            if (rng.random() < 0.3 or not self._cancelling.is_set()) and client.post(
                f"/analyses/{pk}/retry"
            ).status_code == 302:
                self.told.retried += 1
