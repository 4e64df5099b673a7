"""Result folders: whole or not there."""

from __future__ import annotations

import pytest

from hyperspy_assb.report.output import OutputError, check_target, whole_folder


def write(target, text, **options):
    with whole_folder(target, **options) as folder:
        (folder / "result.txt").write_text(text)


def test_folder_appears_when_whole(tmp_path):
    target = tmp_path / "deep" / "result"
    with whole_folder(target) as folder:
        (folder / "result.txt").write_text("new")
        assert not target.exists()
    assert (target / "result.txt").read_text() == "new"
    assert [p.name for p in target.parent.iterdir()] == ["result"]


def test_existing_result_is_refused_then_replaced(tmp_path):
    target = tmp_path / "result"
    write(target, "old")
    with pytest.raises(OutputError, match="--force"):
        write(target, "new")
    assert (target / "result.txt").read_text() == "old"
    write(target, "new", force=True)
    assert (target / "result.txt").read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_error_leaves_the_old_result_and_no_remains(tmp_path):
    target = tmp_path / "result"
    write(target, "old")
    with pytest.raises(RuntimeError), whole_folder(target, force=True) as folder:  # noqa: PT012
        (folder / "half.txt").write_text("half")
        raise RuntimeError
    assert (target / "result.txt").read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "result").mkdir()
    write(tmp_path / "result", "new")
    assert (tmp_path / "result" / "result.txt").exists()


def test_targets_that_cannot_be_written(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(OutputError, match="is a file"):
        check_target(file)
    with pytest.raises(OutputError, match="cannot be written"):
        check_target(file / "result")
    with pytest.raises(OutputError, match="holds the input"):
        check_target(tmp_path, force=True, inputs=[file])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match="working folder"):
        check_target(tmp_path, force=True)
    assert file.exists()
