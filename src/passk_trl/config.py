"""PassKGRPOConfig: TRL's GRPOConfig plus what training for pass@k needs; settings that would undo it are refused."""

import warnings
from dataclasses import dataclass, field

from trl import GRPOConfig

from .estimators import ESTIMATORS, allowed_k
from .objectives import objective_from


# How TRL's loss weighs a completion's Σ_t ∇log π(y_t): "dr_grpo", "dapo", "cispo", "vespo" and "luspo" by one number
# for the whole batch; these three by one that differs between completions, which changes the prompt weights again.
_UNEQUAL_LOSS_TYPES = {
    "grpo": "divides each completion by its own length",
    "sapo": "divides each completion by its own length",
    "bnpo": "divides each micro-batch by its own number of tokens",
}


@dataclass
class PassKGRPOConfig(GRPOConfig):
    r"""
    Configuration class for the [`PassKGRPOTrainer`].

    This class includes only the parameters that are specific to training for pass@k. For a full list of training
    arguments, please refer to the [`~trl.GRPOConfig`] documentation, which all remain available. Two defaults differ
    from TRL's, `scale_rewards` and `loss_type`, because TRL's would silently change the pass@k weights.

    Parameters:
        pass_at_k (`int`, *optional*, defaults to `1`):
            The k of pass@k, the objective trained: the probability that at least one of k completions is correct.
            Between 1 and `num_generations`; `num_generations` several times k keeps the estimate quiet.
        advantage_estimator (`str`, *optional*, defaults to `"weighted_loo"`):
            How the rewards of a group become advantages. Supported values are:

            - `"weighted_loo"` (default): the pass@k prompt weight estimated from the other completions, times the
              leave-one-out advantage. Unbiased for 1 ≤ k ≤ n, the lowest noise of the unbiased ones on hard prompts.
            - `"loo"`, `"loo_minus_one"`, `"none"`: PKPO's `sloo` (k ≤ n−1), `sloo_minus_one` (k ≥ 2) and `s`
              (arXiv 2505.15201). Unbiased.
            - `"analytic"`: Pass@k Training's normalised advantage (arXiv 2508.10751). Not unbiased.
            - `"grpo"`: TRL's own advantages, left untouched; needs `pass_at_k=1`.
        objective (`str`, *optional*):
            Another objective than pass@k, a transform of a prompt's success probability p
            ([`~passk_trl.objectives.objective_from`]). If `None`, it is pass@k with k = `pass_at_k`. Supported values
            are:

            - `"pass@k"`, `"max@k"`: sets `pass_at_k`, as in `"pass@8"`.
            - `"majority@k"`, k odd: majority vote among k completions. Unbiased.
            - `"maxrl"`: log p, MaxRL's log-likelihood of success (arXiv 2602.02710), expanded to order
              `num_generations`, or `"maxrl@k"` to order k. Unbiased for that expansion.
            - `"power:a"`: p^a, such as `"power:0.5"`. Unbiased for a whole a.
            - `"risk:b"`: log(1 + p (e^b − 1))/b, RS-GRPO's exponential utility (arXiv 2509.24261). Not unbiased.
            - `"grpo"`: 2 arcsin √p, which the estimator `"grpo"` ascends implicitly (arXiv 2510.13651). Not unbiased.

            All but the first take `pass_at_k=1` and the default `advantage_estimator`: advantages are the prompt
            weight f′(p), estimated from the other completions, times the leave-one-out advantage.
        success_threshold (`float`, *optional*):
            A completion whose reward (the weighted sum over the reward functions) is at least this counts as correct,
            1, and any other as 0, before advantages are formed. If `None`, rewards are taken as they are: 0/1 rewards
            give pass@k, real ones max@k, the expected best reward of k. The monitor and the `passk/pass@{k}` metrics
            need 0/1 rewards or this threshold.
        scale_rewards (`str` or `bool`, *optional*):
            Scale of the advantages. Supported values are:

            - `False` or `"none"` (default, unless the estimator is `"grpo"`): none, the gradient is unbiased. Raw
              pass@k advantages are several times smaller than GRPO's; Adam divides the scale out again, so GRPO's
              learning rates carry over, and `max_grad_norm` clips less often.
            - `"batch"`: all advantages of the batch are divided by their common root mean square. It leaves the
              direction of the batch's gradient as it is and gives GRPO-like magnitudes whatever k: choose it with
              `beta > 0` or an entropy bonus, whose weight relative to the advantages would otherwise fade, or with an
              optimizer that is not scale-free.
            - `True` or `"group"` (TRL's default): refused, except with `"grpo"`. It multiplies each prompt by
              1/sqrt(p(1−p)), a second, hidden reweighting on top of k(1−p)^(k−1).
        loss_type (`str`, *optional*):
            The loss formulation, as in TRL. Defaults to `"dr_grpo"`, which divides by a constant, so that the
            expectation of the loss gradient is exactly the pass@k gradient; with the estimator `"grpo"` to TRL's own
            default. `"dapo"` divides by the number of tokens in the batch: same direction, another scale per batch.
            `"grpo"`, `"sapo"` and `"bnpo"` weigh completions by their length, and are warned about.
    """

    pass_at_k: int = field(
        default=1,
        metadata={
            "help": "The k of pass@k, the objective trained: the probability that at least one of k completions is "
            "correct. Between 1 and `num_generations`; `num_generations` several times k keeps the estimate quiet."
        },
    )
    advantage_estimator: str = field(
        default="weighted_loo",
        metadata={
            "help": "How the rewards of a group become advantages. Supported values are: 'weighted_loo' (default, "
            "unbiased for every 1 <= k <= n), 'loo' (PKPO's sloo, k <= n-1), 'loo_minus_one' (PKPO's sloo_minus_one, "
            "k >= 2), 'none' (PKPO's s), 'analytic' (Pass@k Training's, not unbiased), and 'grpo' (TRL's own "
            "advantages, needs pass_at_k=1)."
        },
    )
    objective: str | None = field(
        default=None,
        metadata={
            "help": "Another objective than pass@k, a transform of a prompt's success probability. Supported values "
            "are: 'pass@k' and 'max@k' (set `pass_at_k`), 'majority@k' (odd k), 'maxrl' (log-likelihood of success), "
            "'maxrl@k' (to order k), 'power:a' (p^a), 'risk:b' (RS-GRPO's exponential utility), and 'grpo' (what "
            "GRPO's scaling ascends). If `None`, it is pass@k with k = `pass_at_k`."
        },
    )
    success_threshold: float | None = field(
        default=None,
        metadata={
            "help": "A completion whose reward (the weighted sum over the reward functions) is at least this counts "
            "as correct, 1, and any other as 0. If `None`, rewards are taken as they are: 0/1 rewards give pass@k, "
            "real ones max@k, the expected best reward of k."
        },
    )
    scale_rewards: str | None = field(  # None: chosen by the estimator
        default=None,
        metadata={
            "help": "Scale of the advantages. 'none' (default, unless the estimator is 'grpo'): none, the gradient is "
            "unbiased; 'batch': all advantages of the batch are divided by their common root mean square; 'group' "
            "(TRL's default) is refused, except with the estimator 'grpo': it reweights prompts a second time."
        },
    )
    loss_type: str | None = field(  # None: chosen by the estimator
        default=None,
        metadata={
            "help": "The loss formulation, as in TRL. Defaults to 'dr_grpo', whose expected gradient is exactly the "
            "pass@k gradient; with the estimator 'grpo' to TRL's own default. 'grpo', 'sapo' and 'bnpo' weigh "
            "completions by their length, and are warned about."
        },
    )

    def __post_init__(self) -> None:
        keeps_trl_advantages = self.advantage_estimator == "grpo"
        trl_default = {name: GRPOConfig.__dataclass_fields__[name].default for name in ("scale_rewards", "loss_type")}
        if self.scale_rewards is None:
            self.scale_rewards = trl_default["scale_rewards"] if keeps_trl_advantages else "none"
        if self.loss_type is None:
            self.loss_type = trl_default["loss_type"] if keeps_trl_advantages else "dr_grpo"
        super().__post_init__()
        if self.objective is not None:
            self._take_objective(self.objective)
        self._check_objective()
        if not keeps_trl_advantages:
            self._check_weights_survive()

    def _take_objective(self, name: str) -> None:
        objective = objective_from(name)
        is_passk = name.startswith(("pass@", "max@"))
        if self.pass_at_k not in ((1, objective.attempts) if is_passk else (1,)):
            raise ValueError(
                f"pass_at_k={self.pass_at_k} is another objective than objective={name!r}; set one of the two."
            )
        if is_passk:  # from here on it is spelt in one way, and every estimator of pass@k is open to it
            self.pass_at_k, self.objective = objective.attempts, None
            return
        if self.advantage_estimator != "weighted_loo":
            raise ValueError(
                f"advantage_estimator={self.advantage_estimator!r} is one of pass@k, not of objective={name!r}; leave "
                "it at 'weighted_loo'."
            )
        if objective.attempts > self.num_generations:
            raise ValueError(
                f"objective={name!r} cannot be estimated from fewer than {objective.attempts} completions; raise "
                f"num_generations={self.num_generations}."
            )
        self.objective = objective.name

    def _check_objective(self) -> None:
        if self.advantage_estimator not in ESTIMATORS:
            raise ValueError(
                f"advantage_estimator={self.advantage_estimator!r} is unknown; set one of {', '.join(ESTIMATORS)}."
            )
        if not isinstance(self.pass_at_k, int) or self.pass_at_k < 1:
            raise ValueError(f"pass_at_k={self.pass_at_k} is no number of attempts; set a whole number, at least 1.")
        if self.pass_at_k > self.num_generations:
            raise ValueError(
                f"pass_at_k={self.pass_at_k} is larger than num_generations={self.num_generations}; pass@k cannot be "
                "estimated from fewer than k completions: raise num_generations or lower pass_at_k."
            )
        allowed = allowed_k(self.advantage_estimator, self.num_generations)
        if self.pass_at_k not in allowed:
            raise ValueError(
                f"pass_at_k={self.pass_at_k} is outside {allowed.start}..{allowed.stop - 1}, what advantage_estimator="
                f"{self.advantage_estimator!r} can estimate from num_generations={self.num_generations}; set "
                "advantage_estimator='weighted_loo', which takes every k from 1 to num_generations."
            )
        if self.scale_rewards not in ("group", "batch", "none"):
            raise ValueError(f"scale_rewards={self.scale_rewards!r} is unknown; set 'none', 'batch' or 'group'.")
        if self.success_threshold is not None and self.advantage_estimator == "grpo":
            raise ValueError(
                f"success_threshold={self.success_threshold} would not reach TRL's own advantages; set "
                "advantage_estimator='weighted_loo', which at pass_at_k=1 is GRPO with a leave-one-out baseline."
            )
        if self.success_threshold is not None and self.multi_objective_aggregation == "normalize_then_sum":
            raise ValueError(
                f"success_threshold={self.success_threshold} applies to the summed reward, which "
                "multi_objective_aggregation='normalize_then_sum' never forms; set 'sum_then_normalize'."
            )

    def _check_weights_survive(self) -> None:
        if self.scale_rewards == "group":
            raise ValueError(
                f"scale_rewards='group' multiplies each prompt by 1/sqrt(p(1-p)), which undoes the prompt weights of "
                f"advantage_estimator={self.advantage_estimator!r}; set scale_rewards='none' or 'batch'."
            )
        if self.loss_type in _UNEQUAL_LOSS_TYPES:
            warnings.warn(
                f"loss_type={self.loss_type!r} {_UNEQUAL_LOSS_TYPES[self.loss_type]}, so the gradient is no longer "
                f"that of {self.objective or 'pass@k'}; set loss_type='dr_grpo' (exact) or 'dapo' (one scale for the "
                "whole batch).",
                stacklevel=4,
            )
        if self.mask_truncated_completions:
            warnings.warn(
                "mask_truncated_completions=True drops truncated completions from the loss but not from their group, "
                f"so the gradient is no longer that of {self.objective or 'pass@k'}; set it to False and let them "
                "count as incorrect.",
                stacklevel=4,
            )
