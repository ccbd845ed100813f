"""The protocol of the process that compares answers: a line of JSON in, a line of JSON out."""

import json
import subprocess
import sys


def test_each_line_is_answered_until_the_input_ends():
    pairs = [[r"\boxed{12}", r"\boxed{12}"], [r"\boxed{13}", r"\boxed{12}"], [r"\boxed{1}", "no formula"]]
    ended = subprocess.run(
        [sys.executable, "-P", "-m", "passk_trl.rewards.verifier_process"],
        input="".join(json.dumps(pair) + "\n" for pair in pairs),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    _, *answers = ended.stdout.splitlines()  # the first line says that the process has started
    assert [json.loads(answer) for answer in answers] == [1.0, 0.0, None]
