"""The link to a ready policy: one that works, made at once, and never in place of what is no link."""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from passk_trl.policy import __main__ as command


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Calls the command in a folder where both policies are ready."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["passk_trl.policy", *arguments])
        command.main()

    # Paths are relative, as they are where XDG_CACHE_HOME is.
    for name in command._POLICIES:
        (tmp_path / "cache" / name).mkdir(parents=True)
        monkeypatch.setitem(command._POLICIES, name, lambda name=name: Path("cache", name))
    monkeypatch.chdir(tmp_path)
    return call


@pytest.mark.parametrize(("name", "linked"), [((), "quickstart"), (("smollm2",), "smollm2")])
def test_the_link_leads_to_the_policy_from_every_folder(call, tmp_path, monkeypatch, name, linked):
    call(*name, "outputs/policy")
    monkeypatch.chdir("/")
    assert (tmp_path / "outputs" / "policy").resolve(strict=True) == tmp_path / "cache" / linked


def test_a_link_is_replaced_even_one_that_leads_nowhere(call, tmp_path):
    Path("policy").symlink_to("removed")
    call("policy")
    call("smollm2", "policy")
    assert Path("policy").resolve(strict=True) == tmp_path / "cache" / "smollm2"
    assert {file.name for file in tmp_path.iterdir()} == {"cache", "policy"}


def test_many_at_once_make_the_same_link(call, tmp_path):
    policy = tmp_path / "cache" / "quickstart"
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: command._link(Path("policy"), policy), range(2000)))
    assert Path("policy").resolve(strict=True) == policy


@pytest.mark.parametrize("name", command._POLICIES)
def test_a_name_alone_is_not_taken_for_the_path(call, tmp_path, capsys, name):
    with pytest.raises(SystemExit) as ended:
        call(name)
    assert ended.value.code == 2
    words = f"error: {name} is the name of a policy: set path, too, such as outputs/{name}/policy.\n"
    assert capsys.readouterr().err.endswith(words)
    assert not Path(name).is_symlink()


def test_a_folder_is_not_replaced_by_a_link(call, capsys):
    with pytest.raises(SystemExit) as ended:
        call("smollm2", "cache")
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("error: cache exists and is no link: set path to where nothing is.\n")


def test_a_path_in_a_file_is_one_sentence(call):
    Path("file").write_text("")
    with pytest.raises(SystemExit, match=r"^passk_trl.policy: .*File exists: 'file'"):
        call("smollm2", "file/policy")
