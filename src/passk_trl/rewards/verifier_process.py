"""What the process that compares answers does: a line of JSON in, a line of JSON out, until its parent is gone."""

import json
import sys

from .equality import equality


def serve() -> None:
    """Reads `[answer, gold]` from each line of standard input, and writes their equality to standard output."""
    for line in sys.stdin:
        print(json.dumps(equality(*json.loads(line))), flush=True)


if __name__ == "__main__":
    serve()
