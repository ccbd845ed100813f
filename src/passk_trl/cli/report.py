"""`passk-trl report RUN_DIR`: an HTML page and figures for a run that has ended or is still running."""

import argparse
import sys
from collections.abc import Sequence

from passk_trl.reports.text import write_report


def main(args: Sequence[str] | None = None) -> None:
    """Writes the page and figures of a run, and prints its report."""
    parser = argparse.ArgumentParser(
        prog="passk-trl report",
        description="Reads conflict.jsonl and the trainer state of a run that has ended or is still running. Writes a "
        "self-contained HTML page and its figures as PNG files, and prints the report as text.",
    )
    parser.add_argument("run_dir", metavar="RUN_DIR", help="the output_dir of the run")
    parser.add_argument(
        "--beside",
        nargs="+",
        default=None,
        metavar="DIR",
        help="output_dir of other runs from the same start, to compare with it (default: those of its recipe)",
    )
    parser.add_argument("--output", metavar="FILE", help="path of the page (default: RUN_DIR/report.html)")
    options = parser.parse_args(args)
    try:
        print(write_report(options.run_dir, options.beside, options.output))
    except OSError as error:
        print(f"passk-trl report: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
