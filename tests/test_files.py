"""A file or a folder that is written whole appears only when it is complete."""

import resource

import pytest

from passk_trl import files


def interrupt_after(_done: object) -> None:
    raise KeyboardInterrupt


def test_a_file_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "folder" / "file.txt"
    with files.whole(path) as unfinished:
        unfinished.write_text("content")
        assert not path.exists()
    assert path.read_text() == "content"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file.txt"
    files.write(path, "earlier")
    with pytest.raises(KeyboardInterrupt), files.whole(path) as unfinished:
        interrupt_after(unfinished.write_text("half of the new con"))
    assert path.read_text() == "earlier"


def test_a_full_disk_keeps_nothing_of_a_file_that_did_not_fit(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="too large"):
            files.write(tmp_path / "file.txt", "x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_text_is_written_in_utf_8(tmp_path):
    files.write(tmp_path / "file.txt", "⟨∇J_k, ∇J_1⟩")
    assert (tmp_path / "file.txt").read_bytes() == "⟨∇J_k, ∇J_1⟩".encode()


def test_a_folder_appears_when_it_is_complete(tmp_path):
    path = tmp_path / "cache" / "policy"
    with files.whole_folder(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "weights").touch()
        assert not path.exists()
    assert [each.name for each in path.iterdir()] == ["weights"]
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(KeyboardInterrupt), files.whole_folder(tmp_path / "policy") as unfinished:
        interrupt_after(unfinished.mkdir())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_has_written_meanwhile_is_kept(tmp_path):
    path = tmp_path / "policy"
    with files.whole_folder(path) as unfinished:
        unfinished.mkdir()
        (unfinished / "mine").touch()
        path.mkdir()
        (path / "theirs").touch()
    assert [each.name for each in path.iterdir()] == ["theirs"]


def test_a_folder_whose_place_is_taken_by_a_file_fails(tmp_path):
    (tmp_path / "policy").touch()
    with pytest.raises(OSError), files.whole_folder(tmp_path / "policy") as unfinished:
        unfinished.mkdir()
