"""`manage.py models` and the first run: a model is tried before it is kept; without one, motion and a sentence."""

from __future__ import annotations

import shutil
import socket
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO

import pytest
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command

from detection.models import Analysis, Media, Model
from detection.vision.weights import YARD
from workers import first_run

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _no_renewals(settings):
    settings.RENEW_S = 3600


def models(*arguments: str) -> str:
    out = StringIO()
    call_command("models", *arguments, stdout=out)
    return out.getvalue()


def stored_models() -> list[str]:
    """The folders of all weights in storage."""
    return sorted(default_storage.listdir("models")[0]) if default_storage.exists("models") else []


@pytest.fixture
def unreachable(settings):
    """An address where nothing answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        settings.WEIGHTS_URL = f"http://127.0.0.1:{taken.getsockname()[1]}"
        yield


@pytest.fixture
def server(settings, tmp_path):
    """A server that has the small model under the name of the general one."""
    shutil.copy(YARD, tmp_path / "yolo26n.pt")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        settings.WEIGHTS_URL = f"http://127.0.0.1:{http.server_address[1]}"
        yield
        http.shutdown()


def test_a_fresh_system_has_motion_and_it_is_active():
    assert "* motion" in models("list")


def test_a_file_is_tried_kept_under_its_hash_and_activated():
    said = models("add", str(YARD), "--activate")
    model = Model.active()
    assert (model.name, model.labels) == ("yard", ["person", "car"])
    assert model.ms_per_image > 0
    assert len(model.sha256) == len(model.original_sha256) == 64
    assert all(default_storage.exists(name) for name in model.files)
    assert "ms an image" in said
    assert "* yard" in models("list")
    assert models("add", str(YARD)).count("is there") == 1
    assert Model.objects.filter(name="yard").count() == 1
    with pytest.raises(CommandError, match="--name"):
        models("add", str(YARD), "--name", "motion")


def test_what_does_not_load_is_refused_and_nothing_is_kept(tmp_path):
    wrong = tmp_path / "wrong.pt"
    wrong.write_bytes(b"PK not weights at all")
    before = stored_models()
    with pytest.raises(CommandError, match=r"wrong\.pt"):
        models("add", str(wrong))
    assert Model.objects.count() == 1
    assert stored_models() == before


@pytest.mark.parametrize("path", ["/nope.pt", "path/to/model.pt", "model.onnx"])
def test_a_path_that_is_not_there_is_no_name_to_download(path):
    with pytest.raises(CommandError, match=f"There is no file {path}"):
        models("add", path)


def test_a_name_that_is_unknown_is_refused_with_those_there_are():
    with pytest.raises(CommandError, match="there are motion"):
        models("activate", "nothing")


def test_without_a_network_the_first_run_says_so_and_leaves_motion_active(unreachable):
    out = StringIO()
    first_run.fetch_general_model(out)
    assert Model.active().is_motion
    assert "manage.py models add" in out.getvalue()


def test_with_a_network_the_first_run_activates_the_general_model(server):
    out = StringIO()
    first_run.fetch_general_model(out)
    assert Model.active().name == "yolo26n"
    assert "yolo26n is active" in out.getvalue()
    first_run.fetch_general_model(out)
    assert out.getvalue().count("is active") == 1


def test_the_example_is_stored_once_and_says_what_it_is():
    out = StringIO()
    first_run.store_example(out)
    media = Media.objects.get()
    analysis = Analysis.objects.get()
    assert media.is_example
    assert "Example" in media.name
    assert (analysis.state, analysis.model.name) == ("done", "yard")
    assert {"person", "car"} == set(analysis.sightings.values_list("label", flat=True))
    assert Model.active().is_motion
    media.remove()
    first_run.store_example(out)
    assert not Media.objects.exists()
