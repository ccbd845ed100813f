"""`passk-trl report RUN_DIR`: one page, and figures, on a run that is over or still going."""

import argparse
import sys
from collections.abc import Sequence

from passk_trl.reports.text import write_report


def main(args: Sequence[str] | None = None) -> None:
    """Writes a run's page and figures and prints its report."""
    parser = argparse.ArgumentParser(
        prog="passk-trl report",
        description="Writes one self-contained HTML page, and its figures as PNG files, on a run that is over or "
        "still going, from its conflict.jsonl and its trainer's state, and prints the report as text.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the output_dir of the run")
    parser.add_argument(
        "--beside",
        nargs="+",
        default=[],
        metavar="DIR",
        help="output_dir of runs from the same start to set beside it",
    )
    parser.add_argument("--output", metavar="FILE", help="the page to write (default: RUN_DIR/report.html)")
    chosen = parser.parse_args(args)
    try:
        print(write_report(chosen.run_dir, chosen.beside, chosen.output))
    except OSError as error:
        print(f"passk-trl report: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
