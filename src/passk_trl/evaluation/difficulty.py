"""Groups of prompts by difficulty: by how often a policy solves them, or by their labels."""

from torch import Tensor


def split_by_success(success_NG: Tensor) -> tuple[dict[str, list[int]], slice]:
    """
    Bands of prompts by how often a policy solves them, and the rollouts on which these bands may be evaluated.

    The first half of each prompt's rollouts chooses the band. Only the other half may evaluate it, because a prompt is
    among the hardest partly by bad luck, and that luck does not repeat. On the rollouts that chose it, the hardest
    band would have pass@k = 0 for any policy, and any other policy would seem to do better there and worse on the
    easiest band.

    Args:
        success_NG (`torch.Tensor` of shape `[N, n]`):
            Success of n ≥ 2 rollouts of each prompt, 0 or 1.

    Returns:
        `dict[str, list[int]]` and `slice`: the prompts of each band that has any, hardest first; and which of the n
        rollouts to evaluate on. This holds for every policy: policies that are sampled with the same seed share their
        luck.

    Raises:
        `ValueError`: if n < 2.
    """
    half = success_NG.size(1) // 2
    if not half:
        raise ValueError("1 rollout cannot both choose a prompt's band and measure it: set num_rollouts to 2 or more.")
    rate_N = success_NG[:, :half].double().mean(dim=1)
    bands = {
        "never solved": rate_N == 0,
        "below half": (rate_N > 0) & (rate_N < 0.5),
        "half or more": (rate_N >= 0.5) & (rate_N < 1),
        "always solved": rate_N == 1,
    }
    prompts = {band: within_N.nonzero().flatten().tolist() for band, within_N in bands.items()}
    return {band: rows for band, rows in prompts.items() if rows}, slice(half, None)


def group_by_label(labels: list) -> dict[str, list[int]]:
    """
    The positions of each label. The labels are sorted, numbers before text.

    Args:
        labels (`list`):
            The label of each prompt, numbers or text.

    Returns:
        `dict[str, list[int]]`: by label, as text, the positions that have it.
    """
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(labels)), key=lambda i: (type(labels[i]).__name__, labels[i], i)):
        groups.setdefault(str(labels[i]), []).append(i)
    return groups
