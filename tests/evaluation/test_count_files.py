"""Counts from anywhere: read as written, paired by id in any order, and each mistake named with file and line."""

import json
import random
from pathlib import Path

import pytest

from passk_trl.evaluation import evaluate_count_files, read_counts, write_counts


BASE = [{"id": f"p{i}", "n": 8 + i % 3, "c": i % 5} for i in range(12)]
TRAINED = [{"id": f"p{i}", "n": 9, "c": (3 * i) % 7} for i in range(12)]


def written(path: Path, lines: list) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "folder" / "counts.jsonl"
    write_counts(path, {7: [1, 0, 1], "text": [0, 0], 9: None})
    assert path.read_text().splitlines()[0] == '{"id": 7, "n": 3, "c": 2}'
    assert read_counts(path) == {7: (2, 3), "text": (0, 2), 9: (0, 0)}


def test_empty_lines_and_other_keys_are_ignored(tmp_path):
    path = written(
        tmp_path / "counts.jsonl", ['{"c": 1, "n": 2, "id": "a", "model": "x"}', "", '{"id":"b","n":2,"c":0}']
    )
    assert read_counts(path) == {"a": (1, 2), "b": (0, 2)}


def test_the_order_of_the_lines_does_not_matter(tmp_path):
    shuffled = [dict(line) for line in TRAINED]
    random.Random(0).shuffle(shuffled)
    base = written(tmp_path / "base.jsonl", BASE)
    report = evaluate_count_files(written(tmp_path / "trained.jsonl", TRAINED), base)
    assert evaluate_count_files(written(tmp_path / "trained.jsonl", shuffled), base) == report
    assert report.models == [str(tmp_path / "trained.jsonl"), str(base)]
    assert report.overall.largest_k == 8  # the fewest rollouts of a prompt in either file
    assert report.ks == [1, 2, 4, 8]
    assert [each.k for each in report.contributions] == [1, 8]
    assert report.prompts[1] == {"id": "p1", "num_correct": (3, 1), "num_samples": (9, 9)}
    assert report.overall.pass_at_k.difference.value[0] == pytest.approx(
        sum(line["c"] / line["n"] for line in TRAINED) / 12 - sum(line["c"] / line["n"] for line in BASE) / 12
    )


def test_a_prompt_without_a_scored_rollout_is_left_out_of_both(tmp_path):
    base = written(tmp_path / "base.jsonl", BASE)
    trained = written(tmp_path / "trained.jsonl", [{"id": "p0", "n": 0, "c": 0}, *TRAINED[1:]])
    report = evaluate_count_files(trained, base)
    assert (report.unscorable, report.overall.num_prompts, report.overall.largest_k) == (["p0"], 11, 8)


def test_one_file_alone(tmp_path):
    report = evaluate_count_files(written(tmp_path / "base.jsonl", BASE), ks=[3, 1])
    assert (report.ks, report.contributions, report.overall.pass_at_k.difference) == ([1, 3], [], None)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "x", "n": 8', "line 2 is not JSON"),
        ("[1, 2]", "line 2 is [1, 2]; give an object such as"),
        ('{"n": 8, "c": 1}', "line 2 has no 'id'; give id, n and c."),
        ('{"id": "x", "c": 1}', "line 2 has no 'n'"),
        ('{"id": "x", "n": 8}', "line 2 has no 'c'"),
        ('{"id": "x", "n": 8, "c": 9}', "line 2: c=9 is more than n=8"),
        ('{"id": "x", "n": 8, "c": -1}', "line 2: c is -1; give a whole number from 0 to 100000."),
        ('{"id": "x", "n": 8.0, "c": 1}', "line 2: n is 8.0; give a whole number"),
        ('{"id": "x", "n": 8, "c": true}', "line 2: c is True; give a whole number"),
        ('{"id": "x", "n": 8, "c": NaN}', "line 2: c is nan; give a whole number"),
        ('{"id": "x", "n": 10000000000000000000, "c": 1}', "line 2: n is 10000000000000000000; give a whole number"),
        ('{"id": "x", "n": ' + "9" * 5000 + ', "c": 1}', "line 2 is not JSON"),
        ("[" * 100_000, "line 2 is not JSON"),
        ('{"id": null, "n": 8, "c": 1}', "line 2: id is None; give a whole number or a text."),
        ('{"id": true, "n": 8, "c": 1}', "line 2: id is True; give"),
        ('{"id": "p0", "n": 8, "c": 1}', "line 2: id 'p0' is on line 1 too; give each prompt one line."),
    ],
)  # fmt: skip
def test_a_wrong_line_is_named(tmp_path, line, message):
    path = written(tmp_path / "counts.jsonl", [BASE[0], line, BASE[1]])
    with pytest.raises(ValueError) as refusal:
        read_counts(path)
    assert str(refusal.value).startswith(f"{path}, {message}")


@pytest.mark.parametrize(
    ("base", "trained", "ks", "message"),
    [
        ([], TRAINED, [], "base.jsonl has no line; give one line a prompt"),
        (["", ""], TRAINED, [], "base.jsonl has no line"),
        (BASE[1:], TRAINED, [], "trained.jsonl has id 'p0' and"),
        (BASE, TRAINED[2:], [], "base.jsonl has id 'p0', and 1 more, and"),
        (BASE, TRAINED, [9], "pass@9 has no unbiased estimate from 8 rollouts of a prompt: set ks between 1 and 8"),
        (BASE[:1], [{"id": "p0", "n": 0, "c": 0}], [], "there is no prompt to evaluate"),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_refused(tmp_path, base, trained, ks, message):
    paths = [written(tmp_path / f"{name}.jsonl", lines) for name, lines in (("base", base), ("trained", trained))]
    with pytest.raises(ValueError) as refusal:
        evaluate_count_files(paths[1], paths[0], ks)
    assert message in str(refusal.value)


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path):
    (tmp_path / "counts.jsonl").write_bytes(b'\xef\xbb\xbf{"id": 1, "n": 8, "c": 3}\r\n')
    assert read_counts(tmp_path / "counts.jsonl") == {1: (3, 8)}


def test_a_file_that_is_not_text_is_refused(tmp_path):
    (tmp_path / "counts.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"counts\.jsonl is not a text file in UTF-8"):
        read_counts(tmp_path / "counts.jsonl")
