"""How many programs `code_reward` judges in a second, beside a plain `subprocess.run` of each with its unit tests.

    python benchmarks/code_reward.py [--programs 400] [--rounds 5] [--at-once N]

The programs are solutions of `passk_trl.tasks.programming_tasks`, each with four asserts, and as many scripts with two
inputs. The plain way writes a program and its asserts to a file and runs `python file`, as many at once; nothing is
confined, and a program could say that it passed. All ways are timed in turn. A figure is the median over the rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from passk_trl.rewards import CodeReward
from passk_trl.tasks import programming_tasks


def plain(solutions: list[str], tests: list[list[str]], at_once: int) -> list[float]:
    def run(job: tuple[int, str, list[str]]) -> float:
        number, solution, asserts = job
        path = Path(folder) / f"{number}.py"
        path.write_text("\n".join([solution.removeprefix("```python").removesuffix("```"), *asserts]))
        return float(subprocess.run([sys.executable, path], capture_output=True).returncode == 0)

    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(run, zip(range(len(tests)), solutions, tests, strict=True)))


def seconds(action: Callable[[], list[float | None]]) -> float:
    start = time.perf_counter()
    rewards = action()
    assert set(rewards) == {1.0}
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    rows = programming_tasks(options.programs)
    solutions, tests = rows["solution"][:], rows["test_list"][:]
    scripts = [f"print(int(input()) + {number})" for number in range(options.programs)]
    pairs = [json.dumps({"inputs": ["1", "2"], "outputs": [f"{n + 1}", f"{n + 2}"]}) for n in range(options.programs)]
    reward = CodeReward(at_once=options.at_once)
    ways = {
        "code_reward, four asserts": lambda: reward(solutions, test_list=tests),
        "code_reward, a script with two inputs": lambda: reward(scripts, input_output=pairs),
        "subprocess.run([python, file]), four asserts": lambda: plain(solutions, tests, options.at_once),
    }
    reward(solutions[: options.at_once], test_list=tests[: options.at_once])  # starts the workers
    times = {name: [] for name in ways}
    for _ in range(options.rounds):
        for name, way in ways.items():
            times[name].append(seconds(way))
    print(f"{options.programs} programs, {options.at_once} at once, median of {options.rounds} rounds:")
    for name, taken in times.items():
        print(f"  {options.programs / median(taken):7.0f} programs/s  {name}")


if __name__ == "__main__":
    main()
