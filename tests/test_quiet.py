"""The command line is silent about what is of no use, and about nothing else."""

import os
import subprocess
import sys
import textwrap

import pytest


def printed(program: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout + done.stderr


SPEAKING = """
    {first}
    import logging, sys, warnings
    spoken = logging.getLogger("bitsandbytes.backends.cpu.ops")
    spoken.warning("Failed to load CPU gemm_4bit_forward from kernels-community: %s", "no kernels")
    spoken.warning("another line")
    logging.getLogger("DeepSpeed").warning("Setting accelerator to CPU. If you have a GPU")
    for name in ("gradient_checkpointing", "another_name"):
        line = f"`{{name}}` is deprecated and will be removed"
        warnings.warn_explicit(line, FutureWarning, "file", 1, module="transformers.training_args")
"""


def test_lines_of_no_use_are_silenced_in_the_command_line_alone():
    of_no_use = ("gemm_4bit_forward", "Setting accelerator", "`gradient_checkpointing`")
    library = printed(SPEAKING.format(first="import passk_trl"))
    assert all(line in library for line in of_no_use)
    command = printed(SPEAKING.format(first="import passk_trl.cli"))
    assert not any(line in command for line in of_no_use)
    assert "another line" in command
    assert "`another_name` is deprecated" in command
    with_deepspeed = printed(SPEAKING.format(first="import passk_trl.cli"), ACCELERATE_USE_DEEPSPEED="true")
    assert "Setting accelerator" in with_deepspeed


COMMANDS = {
    "passk_trl.cli.train": "passk-trl train",
    "passk_trl.cli.probe": "passk-trl probe",
    "passk_trl.cli.evaluate": "passk-trl evaluate",
    "passk_trl.cli.report": "passk-trl report",
}


@pytest.mark.parametrize(("module", "name"), COMMANDS.items(), ids=COMMANDS)
def test_help_prints_nothing_but_help(module, name):
    """The real libraries, which speak while they are imported."""
    done = subprocess.run([sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.startswith(f"usage: {name}")


def test_making_a_policy_prints_where_it_is_and_nothing_else(policy_path, tmp_path):
    """The policy is ready, and the real libraries speak while they are imported."""
    command = [sys.executable, "-m", "passk_trl.policy", "policy"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("start policy: policy\n", "")
    assert (tmp_path / "policy").resolve() == policy_path.resolve()
