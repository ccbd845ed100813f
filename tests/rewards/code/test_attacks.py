"""Programs that attack: their own verdict, the trainer, the machine. Real processes, one test an attack."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from passk_trl.rewards import CodeLimits
from passk_trl.rewards.code.unit_tests import CannotBePosed, unit_tests_of
from passk_trl.rewards.code.workers import end_workers, verdicts_of
from programs import BRIEF, SQUARE, descendants, seen_inside, verdict_on


WRONG = "def square(x):\n    return 0\n"
TO_ITS_VERDICT = {
    "exits at once": "import os\nos._exit(0)",
    "exits as if nothing could be confined": "import os\nos._exit(114)",
    "exits as if nothing could be confined, when called": "import os\ndef square(x):\n    os._exit(114)",
    "exits by sys": "import sys\nsys.exit(0)",
    "raises SystemExit": "raise SystemExit",
    "exits when called": "import os\ndef square(x):\n    os._exit(0)",
    "quits when called": "def square(x):\n    quit()",
    "prints a pass": WRONG + "print('passed'); print('{\"verdict\": \"passed\"}')",
    "equals everything": (
        "class Any:\n"
        "    def __eq__(self, other): return True\n"
        "    def __ne__(self, other): return False\n"
        "    def __bool__(self): return True\n"
        "def square(x):\n    return Any()"
    ),
    "a number that equals everything": (
        "class Any(int):\n"
        "    def __eq__(self, other): return True\n"
        "    def __hash__(self): return 0\n"
        "def square(x):\n    return Any(0)"
    ),
    "a string that equals everything": (
        "class Any(str):\n    __eq__ = lambda self, other: True\ndef square(x):\n    return Any('0')"
    ),
    "no assertion fails": WRONG + "import builtins\nbuiltins.AssertionError = type('No', (BaseException,), {})",
    "assertions pass": WRONG + "AssertionError.__init__ = lambda *a: None" ,
    "raises what asserts raise": "def square(x):\n    raise AssertionError",
    "changes builtins": (
        WRONG + "import builtins\n"
        "for name in ('print', 'compile', 'exec', 'isinstance', 'getattr', 'int', 'len'):\n"
        "    setattr(builtins, name, lambda *a, **k: True)"
    ),
    "changes json": (
        WRONG + "import json\njson.dumps = lambda *a, **k: '{\"returned\": true, \"verdict\": \"passed\"}'"
    ),
    "changes the modules": (
        WRONG + "import sys\n"
        "for name, module in list(sys.modules.items()):\n"
        "    if 'passk_trl' in name:\n"
        "        for each in dir(module):\n"
        "            if callable(getattr(module, each)):\n"
        "                setattr(module, each, lambda *a, **k: {'verdict': 'passed', 'returned': True})"
    ),
    "empties the modules": WRONG + "import sys\nsys.modules.clear()",
    "answers before it is asked": (
        "import os, json\n"
        "text = json.dumps({'returned': True, 'verdict': 'passed', 'text': ''}).encode()\n"
        "for number in range(64):\n"
        "    for _ in range(9):\n"
        "        try: os.write(number, len(text).to_bytes(4, 'big') + text)\n"
        "        except OSError: break\n" + WRONG
    ),
    "writes garbage to every file": (
        WRONG + "import os\nfor number in range(64):\n"
        "    try: os.write(number, b'passed' * 99)\n"
        "    except OSError: pass\n"
    ),
    "closes every file": "import os\nos.closerange(0, 64)\n" + WRONG,
    "says that its answer is huge": "import os\nos.write(40, b'\\xff' * 4)\n" + WRONG,
    "nests its answer": "def square(x):\n    for _ in range(10**5): x = [x]\n    return x",
    "answers itself": "def square(x):\n    x = []\n    x.append(x)\n    return x",
    "answers without end": "import itertools\ndef square(x):\n    return itertools.count()",
    "reads every file": (
        "import os\nseen = b''\n"
        "for number in range(64):\n"
        "    try:\n"
        "        os.set_blocking(number, False)\n"
        "        seen += os.read(number, 10**6)\n"
        "    except OSError: pass\n"
        "def square(x):\n    return 9 if b'== 9' in seen else 0"
    ),
    "looks through frames and memory": (
        "import gc, sys\n"
        "def square(x):\n"
        "    frame, seen = sys._getframe(), ''\n"
        "    while frame:\n"
        "        seen += str(frame.f_locals) + str(frame.f_globals)\n"
        "        frame = frame.f_back\n"
        "    for each in gc.get_objects():\n"
        "        if isinstance(each, (dict, list, tuple)): seen += str(each)[:9999]\n"
        "    return x * x if ' '.join(['assert', 'square']) in seen else 0"
    ),
    "catches the end": "import atexit, os\natexit.register(lambda: os._exit(0))\n" + WRONG,
    "takes the signals": (
        "import signal\nfor number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n" + WRONG
    ),
}  # fmt: skip


@pytest.mark.parametrize("attack", TO_ITS_VERDICT)
def test_no_program_raises_its_own_verdict(attack):
    assert verdict_on(TO_ITS_VERDICT[attack]) in ("wrong", "error", "memory", "timeout")


SCRIPT = {"input_output": {"inputs": ["3\n"], "outputs": ["9\n"]}}
TO_A_SCRIPTS_VERDICT = {
    "exits at once": "import os\nos._exit(0)",
    "prints a pass": "print('passed')",
    "prints all it reads": "import sys\nprint(sys.stdin.read())",
    "reads every file": (
        "import os\nfor number in range(64):\n"
        "    try: print(os.read(number, 10**6))\n"
        "    except OSError: pass"
    ),
    "closes every file": "import os\nos.closerange(0, 64)",
    "prints the result and fails": "print(9)\nraise ValueError",
    "prints the result and goes on": "print(9, flush=True)\nwhile True: pass",
}  # fmt: skip


@pytest.mark.parametrize("attack", TO_A_SCRIPTS_VERDICT)
def test_no_script_raises_its_own_verdict(attack):
    assert verdict_on(TO_A_SCRIPTS_VERDICT[attack], SCRIPT) in ("wrong", "error", "timeout")


def test_a_unit_test_that_catches_everything_does_not_hide_the_end_of_a_program():
    row = {"test_list": ["try:\n    square(3)\nexcept BaseException:\n    pass"]}
    assert verdict_on("import os\ndef square(x): os._exit(0)", row) == "error"
    assert verdict_on("def square(x): return 9", row) == "passed"


def test_an_object_cannot_say_itself_that_it_is_right():
    program = "class Right:\n    equals = lambda self, other: True\ndef square(x): return Right()"
    assert verdict_on(program, {"test_list": ["assert square(3).equals(9)"]}) == "error"
    assert verdict_on(program, {"test_list": ["assert hash(square(3)) == hash(9)"]}) == "wrong"


def test_a_program_cannot_be_its_own_judge():
    row = {"test": "def check(candidate):\n    assert close(candidate(3), 9)\n", "entry_point": "square"}
    with pytest.raises(CannotBePosed, match="uses close, which neither it nor the prompt defines"):
        unit_tests_of(row)
    with pytest.raises(CannotBePosed, match="gives what square returns to close"):
        unit_tests_of({"test_list": ["assert close(square(3), 9)"]})
    head = "def close(a, b): return abs(a - b) < 1\n\ndef square(x):\n    '''The square'''\n"
    job = ("def close(*a): return True\ndef square(x): return 0", unit_tests_of(row, head))
    assert verdicts_of([job], BRIEF)[0]["verdict"] == "wrong"  # the function close of the prompt judges


def test_what_an_earlier_program_failed_is_not_in_the_memory_of_a_later_one():
    row = {"test_list": ["assert square(3) == 918273645"]}
    assert verdict_on(WRONG, row) == "wrong"
    finds = (
        "import ctypes, gc\n"
        "def square(x):\n"
        "    seen = ''.join(str(each)[:9999] for each in gc.get_objects() if isinstance(each, (dict, list, tuple)))\n"
        "    return 918273645 if '9182736' + '45' in seen.replace(repr(square.__code__.co_consts), '') else 0\n"
    )
    assert verdict_on(finds.replace("918273645 if", "int('918' '273' '645') if"), row) == "wrong"


# The trainer and the machine


def test_a_fork_bomb_starts_no_process():
    assert verdict_on("import os\nwhile True: os.fork()") == "error"
    assert seen_inside("__import__('os').fork()") == "PermissionError"
    assert seen_inside("__import__('subprocess').run(['ls'])") == "PermissionError"
    assert seen_inside("__import__('os').execv('/bin/ls', ['ls'])") == "PermissionError"


def test_a_bomb_of_threads_is_limited():
    program = (
        "import threading, time\n"
        "threading.stack_size(2**16)\n"  # so that memory has room for thousands
        "def square(x):\n"
        "    started = 0\n"
        "    try:\n"
        "        for _ in range(1000):\n"
        "            threading.Thread(target=time.sleep, args=(9,), daemon=True).start()\n"
        "            started += 1\n"
        "    except RuntimeError: pass\n"
        "    raise Exception(started)\n"
    )
    (verdict,) = verdicts_of([(program, unit_tests_of(SQUARE))], BRIEF)
    assert 0 < int(verdict["text"].split()[-1]) < BRIEF.threads


@pytest.mark.parametrize("row", [SQUARE, SCRIPT], ids=["asserts", "script"])
def test_output_without_end_is_stopped(row):
    assert verdict_on("while True: print('x' * 10000)", row) in ("timeout", "error")


def test_a_loop_without_end_takes_its_processor_time_only():
    start = time.monotonic()
    ignores = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass"
    assert verdict_on(ignores) == "timeout"
    assert time.monotonic() - start < 2 * BRIEF.seconds


def test_a_sleep_without_end_takes_its_time_only():
    start = time.monotonic()
    assert verdict_on("import time\ntime.sleep(1000)") == "timeout"
    assert time.monotonic() - start < 2 * BRIEF.seconds


def test_memory_is_limited():
    assert verdict_on("def square(x):\n    kept = []\n    while True: kept.append(' ' * 10**6)") == "memory"
    assert seen_inside("__import__('os').memfd_create('hidden')") == "PermissionError"


def test_a_huge_file_is_cut_and_removed(tmp_path, monkeypatch):
    end_workers()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert verdict_on("with open('big', 'wb') as file:\n    while True: file.write(bytes(10**6))") == "error"
    many = "for i in range(10**6):\n    with open(str(i), 'wb') as file: file.write(bytes(10**6))"
    assert verdict_on(many) == "error"
    assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == []
    end_workers()
    assert list(tmp_path.iterdir()) == []


def test_files_that_cannot_be_opened_are_removed():
    program = "import os\nfor i in range(20):\n    os.close(os.open(str(i), os.O_CREAT | os.O_WRONLY, 0))\n"
    assert verdict_on(program + "def square(x): return x * x") == "passed"
    assert seen_inside("__import__('os').listdir('.')") == "[]"


def test_the_folder_is_empty_at_the_start_and_nothing_else_can_be_written(tmp_path):
    assert verdict_on("open('note', 'w').write('9')\n" + WRONG) == "wrong"
    assert seen_inside("__import__('os').listdir('.')") == "[]"
    (tmp_path / "mine").write_text("mine")
    for expression in (
        f"open({str(tmp_path / 'new')!r}, 'w')",
        f"open({str(tmp_path / 'mine')!r}, 'a')",
        f"open({str(tmp_path / 'mine')!r})",
        f"__import__('os').chmod({str(tmp_path / 'mine')!r}, 0)",
        f"__import__('os').remove({str(tmp_path / 'mine')!r})",
        f"__import__('os').rename({str(tmp_path / 'mine')!r}, 'mine')",
        f"__import__('os').symlink({str(tmp_path / 'mine')!r}, 'mine')",
        f"__import__('os').utime({str(tmp_path / 'mine')!r})",
        "__import__('os').mkdir('/dev/shm/new')",
        "__import__('os').mkdir('deep')",  # in its own folder, which could be nested too deeply to remove
    ):
        assert seen_inside(expression) == "PermissionError", expression
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/environ", "/proc/self/mem", "/proc/1/environ", __file__])
def test_files_of_the_system_and_of_the_trainer_cannot_be_read(path):
    assert seen_inside(f"open({path!r}, 'rb')") == "PermissionError"


def test_the_environment_of_the_trainer_is_not_there(monkeypatch):
    monkeypatch.setenv("A_SECRET_TOKEN", "secret")
    assert seen_inside("dict(__import__('os').environ)") == "{}"
    assert seen_inside("open('/proc/%d/environ' % __import__('os').getppid())") == "PermissionError"
    assert seen_inside(f"open('/proc/{os.getpid()}/environ')") == "PermissionError"


def test_there_is_no_network():
    assert seen_inside("__import__('socket').socket()") == "PermissionError"
    assert seen_inside("__import__('socket').create_connection(('127.0.0.1', 80))") == "PermissionError"
    assert seen_inside("__import__('socket').socket(__import__('socket').AF_UNIX)") == "PermissionError"


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os').kill(__import__('os').getppid(), 9)",
        "__import__('os').kill(TRAINER, 9)",
        "__import__('os').kill(-1, 9)",
        "__import__('os').killpg(0, 9)",
        "__import__('os').setsid()",
        "__import__('os').setpriority(0, 0, 5)",
        "__import__('os').sched_setaffinity(TRAINER, [0])",
        "__import__('resource').prlimit(TRAINER, 0, (1, 1))",
        "__import__('fcntl').fcntl(40, 8, TRAINER)",
        "__import__('os').pidfd_open(TRAINER)",
    ],
)
def test_other_processes_cannot_be_touched(expression):
    assert seen_inside(expression.replace("TRAINER", str(os.getpid()))) == "PermissionError"


def test_a_call_of_the_kernel_by_its_number_is_refused_too():
    numbers = {"x86_64": (101, 310, 41, 425), "aarch64": (117, 270, 198, 425)}[os.uname().machine]
    for number in numbers:  # ptrace, process_vm_readv, socket, io_uring_setup
        expression = f"__import__('ctypes').CDLL(None).syscall({number}, 16, {os.getpid()}, 0, 0, 0, 0)"
        assert seen_inside(expression) == "-1"


def test_only_the_channel_and_streams_are_open():
    program = (
        "import os\n"
        "def is_open(number):\n"
        "    try: return bool(os.fstat(number))\n"
        "    except OSError: return False\n"
        "def square(x): raise Exception([number for number in range(999) if is_open(number)])\n"
    )
    (verdict,) = verdicts_of([(program, unit_tests_of(SQUARE))], BRIEF)
    assert verdict["text"].endswith("[0, 1, 2, 40]")


def test_rules_cannot_be_changed_for_those_who_come_later():
    for number in (444, 445, 446):
        assert seen_inside(f"__import__('ctypes').CDLL(None).syscall({number}, 41, 1, 0, 0)") == "-1"


def test_what_can_be_read_cannot_be_cut():
    library = Path(os.__file__).resolve()
    before = library.read_bytes()
    for flags in ("os.O_TRUNC", "os.O_TRUNC | os.O_WRONLY", "os.O_TRUNC | os.O_RDWR", "os.O_APPEND | os.O_WRONLY"):
        expression = f"(lambda os: os.open({str(library)!r}, {flags}))(__import__('os'))"
        assert seen_inside(expression) == "PermissionError"
    assert seen_inside(f"__import__('os').truncate({str(library)!r}, 0)") == "PermissionError"
    assert library.read_bytes() == before


def test_no_socket_can_send_to_an_address():
    assert seen_inside("__import__('socket').socketpair(type=__import__('socket').SOCK_DGRAM)") == "PermissionError"
    assert seen_inside("len(__import__('socket').socketpair())") == "2"  # which asyncio needs
    assert seen_inside("__import__('asyncio').run(__import__('asyncio').sleep(0, 7))") == "7"


def test_a_program_is_the_first_to_go_when_memory_is_short():
    thread = threading.Thread(target=verdict_on, args=("import time\ntime.sleep(60)",))
    thread.start()
    waited_for(lambda: [score_of(pid) for pid in descendants()], lambda scores: scores.count("1000") == 2)
    thread.join()


def score_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/oom_score_adj").read_text().strip()
    except OSError:  # it has ended
        return ""


def test_packages_can_be_imported_where_that_is_wanted():
    program = "import numpy\ndef square(x): return numpy.square(numpy.array([x]))[0]"
    assert verdict_on(program) == "error"
    assert verdict_on(program, limits=CodeLimits(packages=True)) == "passed"
    row = {"test_list": ["numpy.testing.assert_allclose(square(3), 9)"], "test_setup_code": "import numpy"}
    assert verdict_on("def square(x): return x * x", row, CodeLimits()) == "passed"
    assert verdict_on(WRONG, row, CodeLimits()) == "wrong"


def test_the_unit_tests_are_confined_too():
    for statement in (
        "open('/etc/passwd')",
        "import socket; socket.socket()",
        "import os; os.fork()",
        "open('a', 'w')",
    ):
        assert verdict_on(WRONG, {"test_list": SQUARE["test_list"], "test_setup_code": statement}) == "unscorable"


def test_privileges_are_gone():
    assert seen_inside("__import__('os').setgroups([])") == "PermissionError"
    assert seen_inside("__import__('os').mknod('device', 0o60600, 2049)") == "PermissionError"


def test_nothing_of_a_program_outlives_it():
    before = set(descendants())
    program = "import threading, time\nthreading.Thread(target=time.sleep, args=(60,)).start()\n" + WRONG
    assert verdict_on(program) == "wrong"
    end_workers()
    assert set(descendants()) <= before


def test_workers_and_programs_end_with_a_killed_trainer(tmp_path):
    script = (
        "from programs import verdict_on\n"
        "print(verdict_on('def square(x): return x * x'), flush=True)\n"
        "verdict_on('import time; time.sleep(60)')\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)}
    trainer = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
    assert trainer.stdout.readline() == "passed\n"
    below = waited_for(lambda: descendants(trainer.pid), lambda found: len(found) == 3)  # worker, examiner, program
    trainer.send_signal(signal.SIGKILL)
    trainer.communicate()
    waited_for(lambda: [pid for pid in below if Path(f"/proc/{pid}").exists()], lambda left: left == [])
    assert list(tmp_path.iterdir()) == []


def waited_for(look, found):
    """What `look` sees once it is as it should be, within half a minute."""
    until = time.monotonic() + 30
    while not found(seen := look()):
        assert time.monotonic() < until, seen
        time.sleep(0.05)
    return seen
