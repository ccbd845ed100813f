"""How often a verifier's verdict on a pair of answer and gold answer is wrong: ours, and TRL's own.

    python benchmarks/verifier/run.py

The pairs are in `pairs.tsv`, a line each: a completion, the gold answer, the right verdict, ours where it is another
one, and what the pair is about, with the issue that reported such a case. The pairs are hard on purpose: the rates say
nothing of how often a verdict is wrong in training. A gold answer that a verifier cannot read gets no verdict (None),
which is wrong here: such a prompt is never trained on. TRL's own reads few formulas that stand bare, so it is tried
with the gold answers in `$…$` too. The result is in `docs/tasks.md`.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import trl.rewards

from passk_trl.rewards import accuracy_reward


PAIRS = Path(__file__).parent / "pairs.tsv"


def pairs() -> list[dict[str, str]]:
    """The rows of the table."""
    with PAIRS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def verdicts(reward: Callable, rows: list[dict[str, str]], gold: str = "{}") -> list[float | None]:
    """The verdicts of a reward function, which is given conversations, as TRL's own needs them."""
    completions = [[{"role": "assistant", "content": row["completion"]}] for row in rows]
    return reward(completions, [gold.format(row["gold"]) for row in rows])


def rates(rows: list[dict[str, str]], given: list[float | None]) -> dict[str, str]:
    """How many verdicts are wrong, and in which way."""
    right = [float(row["right"]) for row in rows]
    wrong = [(is_right, verdict) for is_right, verdict in zip(right, given, strict=True) if verdict != is_right]
    return {
        "wrong": f"{len(wrong)} of {len(rows)} ({len(wrong) / len(rows):.0%})",
        "right answers called wrong": str(wrong.count((1.0, 0.0))),
        "wrong answers called right": str(wrong.count((0.0, 1.0))),
        "no verdict": str(sum(verdict is None for _, verdict in wrong)),
    }


def main() -> None:
    rows = pairs()
    of = {
        "`accuracy_reward`": rates(rows, verdicts(accuracy_reward, rows)),
        "`trl.rewards.accuracy_reward`": rates(rows, verdicts(trl.rewards.accuracy_reward, rows)),
        "the same, gold answers in `$…$`": rates(rows, verdicts(trl.rewards.accuracy_reward, rows, "${}$")),
    }
    columns = list(next(iter(of.values())))
    print(f"| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, its in of.items():
        print(f"| {name} | {' | '.join(its.values())} |")


if __name__ == "__main__":
    main()
