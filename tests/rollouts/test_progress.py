"""The bar over prompts that are done in blocks."""

from io import StringIO

from tqdm.auto import tqdm

from passk_trl.rollouts.progress import BlockProgress


def test_blocks_that_were_there_already_do_not_count_for_the_time_left():
    with tqdm(total=12, file=StringIO()) as bar:
        progress = BlockProgress(bar)
        progress.finish_block([0, 1, 2, 3])  # found
        assert (bar.n, bar.initial) == (4, 0)
        progress.add(2)
        progress.add(3)
        assert (bar.n, bar.initial) == (9, 4)
        progress.finish_block([4, 5, 6, 7])
        assert bar.n == 8  # the rank's guess of the others' work is corrected
        progress.add(9)
        assert bar.n == 12  # and never goes beyond the end
