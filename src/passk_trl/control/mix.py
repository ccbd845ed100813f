"""Mix: adds to pass@k's gradient as little of pass@1's as removes the conflict."""

from .controller import Decision, Situation
from .mixing import Mixing
from .smallest_share import smallest_share
from .two_gradients import two_gradients


class Mix(Mixing):
    """
    Mixes pass@k's gradient with the smallest share of pass@1's that removes the conflict of the latest probes, or
    of the window of a monitor that rides.

    It is blind before the first report, while its prompts are solved, and while noise hides pass@1's gradient.
    It then trains pass@k alone.

    Args:
        margin (`float`, *optional*, defaults to `0.0`):
            How fast pass@1 is to rise, as a fraction of how fast training for pass@1 alone would raise it.
        probes (`int`, *optional*, defaults to `4`):
            How many of the latest probes are averaged. Fewer follow training more closely and are noisier. With
            `ride`, the latest report alone counts, whose prompts the monitor's `window` sets.
    """

    needs_reports = True

    def __init__(self, margin: float = 0.0, probes: int = 4):
        if not 0 <= margin < 1:
            raise ValueError(f"margin={margin} is not a fraction below 1: set 0 to hold pass@1, more to raise it.")
        if probes < 1:
            raise ValueError(f"probes={probes} is not a number of probes: set at least 1.")
        self.margin = margin
        self.probes = probes

    def decide(self, now: Situation) -> Decision:
        found = two_gradients(now.reports[-self.probes :], now.k)
        share = smallest_share(found.inner_product, found.pass1_norm_squared, self.margin)
        return Decision(self.mixed(now, share, found.mean_weight), {"share": share}, found.blind)
