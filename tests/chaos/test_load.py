"""What counts as accepted: only what the server said it has."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.chaos.load import Client, Load, NoAnswer
from tests.chaos.media import Sample


def answered(status: int, outcome: str = "") -> requests.Response:
    answer = requests.Response()
    answer.status_code = status
    answer._content = f'{{"files": [{{"outcome": "{outcome}"}}]}}'.encode()
    return answer


class Scripted:
    """The wire: answers or breaks as it is told to."""

    def __init__(self, *script: requests.Response | Exception) -> None:
        self.script = list(script)
        self.cookies = requests.Session().cookies
        self.cookies.set("sessionid", "x")

    def post(self, *_: object, **__: object) -> requests.Response:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"a picture")
    return Sample(str(path), "aa")


def load_and_client(sample: Sample, *script: requests.Response | Exception) -> tuple[Load, Client]:
    client = Client("http://127.0.0.1:9", "secret")
    client.http = Scripted(*script)  # type: ignore[assignment]
    return Load(lambda: client, [sample], lambda: 1.0, 1, lambda _: None, lambda: True), client


@pytest.mark.parametrize("said", [(201, "accepted"), (200, "known")])
def test_what_the_server_has_is_accepted(sample, said):
    load, client = load_and_client(sample, answered(*said))
    assert load._upload(client, sample)
    assert load.all_accepted


@pytest.mark.parametrize("said", [(422, "refused"), (201, "refused"), (302, "")])
def test_anything_else_is_not(sample, said):
    load, client = load_and_client(sample, answered(*said))
    assert not load._upload(client, sample)
    assert load.told.accepted == set()


def test_a_good_file_that_is_called_bad_is_told(sample):
    load, client = load_and_client(sample, answered(422, "refused"))
    load._upload(client, sample)
    assert load.told.refused


@pytest.mark.parametrize("broken", [requests.ConnectionError(), answered(500), answered(507), answered(403)])
def test_no_answer_is_no_acceptance(sample, broken):
    load, client = load_and_client(sample, broken)
    with pytest.raises(NoAnswer):
        load._upload(client, sample)
    assert load.told.accepted == set()


def test_it_is_uploaded_until_it_is_accepted(sample, monkeypatch):
    monkeypatch.setattr("tests.chaos.load.AGAIN_S", 0)
    script = [requests.ConnectionError(), answered(507), answered(201, "accepted")]
    load, client = load_and_client(sample, *script)
    load._insist(client, sample)
    assert load.all_accepted
    assert client.http.script == []  # type: ignore[attr-defined]
