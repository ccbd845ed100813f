"""Pass@k with its uncertainty, of one policy or of two on the same prompts: pure functions of success counts.

A benchmark's prompts count as drawn at random from those it stands for. A prompt's unbiased estimate of pass@k is then
one draw, of a prompt and its rollouts together, and these draws are independent and alike, however many rollouts each
rests on. So it is enough to resample prompts: what rollouts add to the uncertainty is in the spread over prompts.
"""

from torch import Tensor


def split_by_success(success_NG: Tensor) -> tuple[dict[str, list[int]], slice]:
    """
    Bands of prompts by how often a policy solves them, and the rollouts left to evaluate these bands on.

    The bands are chosen by the first half of each prompt's rollouts, and only the other half may say how well a band
    fares. The same rollouts cannot do both: a prompt is among the hardest for its difficulty and for its bad luck, and
    luck does not repeat. On the rollouts that chose it, the hardest band has pass@k = 0 whatever the policy, and any
    other policy would seem to do better there and worse on the easiest.

    Args:
        success_NG (`torch.Tensor` of shape `[N, n]`):
            Success of n ≥ 2 rollouts of each prompt, 0 or 1.

    Returns:
        `dict[str, list[int]]` and `slice`: the prompts of each band that has any, hardest first; and which of the n
        rollouts to evaluate on, of any policy, since policies that are sampled with the same seed share their luck.

    Raises:
        `ValueError`: if n < 2.
    """
    half = success_NG.size(1) // 2
    if not half:
        raise ValueError("1 rollout cannot both choose a prompt's band and measure it; set num_rollouts to 2 or more.")
    rate_N = success_NG[:, :half].double().mean(dim=1)
    bands = {
        "never solved": rate_N == 0,
        "below half": (rate_N > 0) & (rate_N < 0.5),
        "half or more": (rate_N >= 0.5) & (rate_N < 1),
        "always solved": rate_N == 1,
    }
    prompts = {band: within_N.nonzero().flatten().tolist() for band, within_N in bands.items()}
    return {band: rows for band, rows in prompts.items() if rows}, slice(half, None)
