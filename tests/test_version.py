"""What results say they were made by."""

from pathlib import Path

from project.version import described


def test_a_checkout_names_its_commit(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    (git / "refs/heads").mkdir(parents=True)
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "refs/heads/main").write_text("1a2b3c4d5e6f\n")
    assert described(tmp_path, "0.1.0") == "0.1.0+1a2b3c4"


def test_a_packed_and_a_detached_checkout_do_so_too(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    (git / "packed-refs").write_text("# pack-refs\nffffff1 refs/heads/other\n7654321aa refs/heads/main\n")
    assert described(tmp_path, "0.1.0") == "0.1.0+7654321"
    (git / "HEAD").write_text("abcdef0123\n")
    assert described(tmp_path, "0.1.0") == "0.1.0+abcdef0"


def test_an_archive_has_its_version_alone(tmp_path: Path) -> None:
    assert described(tmp_path, "0.1.0") == "0.1.0"
