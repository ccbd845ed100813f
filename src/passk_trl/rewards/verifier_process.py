"""What the process that compares answers does: from `[answer, gold]` to their equality."""

from passk_trl.child_process import serve

from .equality import equality


if __name__ == "__main__":
    serve(lambda pair: equality(*pair))
