"""`manage.py analyse`: files in place, nothing stored, honest exit codes."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from detection.models import Analysis, Media
from detection.vision.draw import draw_scene, write_clip
from tests.cast import a_model

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "yard.mp4"
    write_clip(path, draw_scene(3, width=320, height=180, seconds=6, fps=10, parked=False), fps=10)
    return path


def analyse(*paths, **options) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = StringIO(), StringIO()
    try:
        call_command("analyse", *map(str, paths), stdout=out, stderr=err, **options)
    except SystemExit as exit_:
        return int(exit_.code), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_json_says_what_was_looked_at_with_what_and_what_was_seen(clip):
    code, out, _ = analyse(clip, json=True)
    result = json.loads(out)
    assert code == 0
    assert set(result["media"]) == {"path", "sha256", "kind", "width", "height", "duration_s"}
    assert (result["media"]["width"], result["media"]["kind"]) == (320, "clip")
    analysis = result["analysis"]
    assert (analysis["state"], analysis["model"], analysis["frames_read"]) == ("done", "motion", 60)
    assert analysis["frames_sampled"] == 30
    assert analysis["params"]["fps"] == 5.0
    assert result["sightings"]
    for seen in result["sightings"]:
        assert seen["start_s"] == seen["path"][0][0]
        assert seen["end_s"] == seen["path"][-1][0]
        assert all(len(point) == 6 for point in seen["path"])
    assert Media.objects.count() == Analysis.objects.count() == 0


def test_more_frames_a_second_are_sampled_when_asked(clip):
    _, out, _ = analyse(clip, json=True, fps=10.0)
    assert json.loads(out)["analysis"]["frames_sampled"] == 60


def test_the_same_file_gives_the_same_result(clip):
    first, second = (json.loads(analyse(clip, json=True)[1]) for _ in range(2))
    for result in (first, second):
        result["analysis"].pop("wall_s")
    assert first == second


def test_a_folder_is_looked_through_one_line_a_file_and_what_fails_says_why(clip, tmp_path):
    (tmp_path / "a.mp4").write_bytes(clip.read_bytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "notes.mp4").write_text("only words")
    code, out, _ = analyse(tmp_path, json=True)
    good, bad = map(json.loads, out.splitlines())
    assert code == 1
    assert good["analysis"]["state"] == "done"
    assert bad["analysis"]["state"] == "failed"
    assert bad["analysis"]["error"].endswith(".")
    code, out, err = analyse(tmp_path)
    assert code == 1
    assert "a.mp4: " in out
    assert "notes.mp4: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"model": "nothing"}, "There is no model “nothing” and no such file; there are motion."),
        ({"fps": 0.0}, "--fps must be more than 0"),
        ({"fps": float("nan")}, "--fps must be more than 0"),
    ],
)
def test_wrong_arguments_are_refused_with_a_sentence(clip, arguments, sentence):
    with pytest.raises(CommandError, match=sentence):
        analyse(clip, **arguments)


def test_a_path_that_is_not_there_is_said_to_be_missing_before_anything_is_done(clip, tmp_path, capsys):
    with pytest.raises(CommandError, match="There is no file /nowhere"):
        analyse(clip, "/nowhere/clip.mp4")
    with pytest.raises(CommandError, match=f"There is no file in {tmp_path}"):
        analyse(clip, tmp_path)
    assert "yard.mp4" not in capsys.readouterr().out


def test_a_model_whose_weights_are_gone_is_an_error_and_not_an_empty_result(clip):
    a_model("cars")
    with pytest.raises(CommandError, match="weights"):
        analyse(clip, model="cars")


def test_the_trained_model_can_be_named_by_its_file(clip):
    from detection.vision.weights import YARD

    code, out, _ = analyse(clip, json=True, model=str(YARD))
    result = json.loads(out)
    assert code == 0
    assert result["analysis"]["model"] == "yard.pt"
    assert len(result["analysis"]["model_sha256"]) == 64
    assert {seen["label"] for seen in result["sightings"]} <= {"person", "car"}
    assert result["sightings"]
