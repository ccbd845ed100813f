"""`passk-trl evaluate --counts BASE TRAINED`: pass@k from files of success counts, without a model."""

import argparse
import sys
from collections.abc import Sequence

from passk_trl.evaluation import evaluate_count_files, write_evaluation


_PROG = "passk-trl evaluate --counts"

_DESCRIPTION = """Pass@k and pass^k of success counts from anywhere, with no model and no GPU.

  passk-trl evaluate --counts base.jsonl trained.jsonl     the second against the first
  passk-trl evaluate --counts trained.jsonl                one alone

A file has one line a prompt, such as {"id": 7, "n": 32, "c": 5}: its name, its rollouts, and how many are correct. n
may differ by prompt and by file. `passk-trl evaluate` of a checkpoint writes such a file too, counts.jsonl."""


def main(args: Sequence[str] | None = None) -> None:
    """Evaluates the counts, writes the report and prints it."""
    options = _parser().parse_args(args)
    if len(options.counts) not in (1, 2):
        _exit(f"{len(options.counts)} files are given after --counts; give one, or two to compare.")
    path, against = options.counts[-1], options.counts[0] if len(options.counts) == 2 else None
    try:
        report = evaluate_count_files(path, against, options.ks, options.confidence, options.seed)
        print(write_evaluation(options.output_dir, report))
    except (ValueError, OSError) as error:
        _exit(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROG,
        usage=f"{_PROG} FILE [FILE] [options]",
        description=_DESCRIPTION,
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--counts",
        action="extend",
        nargs="*",  # none is told below; with "+", `--counts --help` would be a mistake
        required=True,
        metavar="FILE",
        help="one file of counts, or two: the first is the one compared with (as --against is for checkpoints), and "
        "gain and loss are those of the second",
    )
    parser.add_argument(
        "--ks",
        type=int,
        nargs="+",
        default=[],
        help="the k in the tables (default: 1, 2, 4 … up to the fewest rollouts of a prompt)",
    )
    parser.add_argument("--confidence", type=float, default=0.95, help="level of the bands (default: 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    parser.add_argument(
        "--output_dir", "--output-dir", default="evaluation", help="where to write the report (default: evaluation)"
    )
    return parser


def _exit(message: str) -> None:
    print(f"{_PROG}: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
