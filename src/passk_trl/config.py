"""PassKGRPOConfig: TRL's GRPOConfig with the settings of pass@k. Settings that would undo pass@k are refused."""

import warnings
from dataclasses import dataclass, field
from math import inf

from trl import GRPOConfig

from .estimators import ESTIMATORS, allowed_k
from .objectives import objective_from


# TRL's loss multiplies a completion's Σ_t ∇log π(y_t) by a number. With "dr_grpo", "dapo", "cispo", "vespo" and
# "luspo", the number is the same for the whole batch. With these three it is not, which changes the prompt weights.
_UNEQUAL_LOSS_TYPES = {
    "grpo": "divides each completion by its own length",
    "sapo": "divides each completion by its own length",
    "bnpo": "divides each micro-batch by its own number of tokens",
}


_LOSS_TYPES = ("grpo", "dr_grpo", "dapo", "bnpo", "cispo", "sapo", "luspo", "vespo")

# What TRL and transformers take without a word, or refuse only once the model is loaded: (least, most).
_RANGES: dict[str, tuple[float, float]] = {
    "beta": (0, inf),
    "dataloader_num_workers": (0, inf),
    "epsilon": (0, inf),
    "gradient_accumulation_steps": (1, inf),
    "learning_rate": (0, inf),
    "max_completion_length": (1, inf),
    "max_grad_norm": (0, inf),
    "min_p": (0, 1),
    "num_iterations": (1, inf),
    "per_device_eval_batch_size": (1, inf),
    "per_device_train_batch_size": (1, inf),
    "seed": (0, 2**32 - 1),
    "top_entropy_quantile": (0, 1),
    "top_k": (0, inf),
    "weight_decay": (0, inf),
}
_ABOVE_ZERO: dict[str, tuple[float, float]] = {
    "repetition_penalty": (0, inf),
    "temperature": (0, inf),
    "top_p": (0, 1),
}


@dataclass
class PassKGRPOConfig(GRPOConfig):
    r"""
    Configuration class for the [`PassKGRPOTrainer`].

    This class includes only the parameters that are specific to training for pass@k. All other training arguments are
    those of [`~trl.GRPOConfig`]; please refer to its documentation. Two defaults differ from TRL's, `scale_rewards`
    and `loss_type`, because TRL's defaults would silently change the prompt weights of pass@k.

    Parameters:
        pass_at_k (`int`, *optional*, defaults to `1`):
            The k of pass@k, the objective trained: the probability that at least one of k completions is correct.
            Between 1 and `num_generations`. The estimate has little noise if `num_generations` is several times k.
        advantage_estimator (`str`, *optional*, defaults to `"weighted_loo"`):
            How the rewards of a group become advantages. Supported values are:

            - `"weighted_loo"` (default): the pass@k prompt weight, estimated from the other completions, times the
              leave-one-out advantage. Unbiased for 1 ≤ k ≤ n. Of the unbiased ones it has the least noise on hard
              prompts.
            - `"loo"`, `"loo_minus_one"`, `"none"`: PKPO's `sloo` (k ≤ n−1), `sloo_minus_one` (k ≥ 2) and `s`
              (arXiv 2505.15201). Unbiased.
            - `"analytic"`: Pass@k Training's normalised advantage (arXiv 2508.10751). Not unbiased.
            - `"grpo"`: TRL's own advantages, left untouched; needs `pass_at_k=1`.
        objective (`str`, *optional*):
            Another objective than pass@k: a function of a prompt's success probability p
            ([`~passk_trl.objectives.objective_from`]). If `None`, pass@k with k = `pass_at_k`. Supported values are:

            - `"pass@k"`, `"max@k"`: sets `pass_at_k`, as in `"pass@8"`.
            - `"majority@k"` with an odd k: majority vote among k completions. Unbiased.
            - `"maxrl"`: log p, MaxRL's log-likelihood of success (arXiv 2602.02710), expanded to order
              `num_generations`, or `"maxrl@k"` to order k. Unbiased for that expansion.
            - `"power:a"`: p^a, such as `"power:0.5"`. Unbiased if a is a whole number.
            - `"risk:b"`: log(1 + p (e^b − 1))/b, RS-GRPO's exponential utility (arXiv 2509.24261). Not unbiased.
            - `"grpo"`: 2 arcsin √p, which the estimator `"grpo"` implicitly maximizes (arXiv 2510.13651). Not
              unbiased.

            All except the first need `pass_at_k=1` and the default `advantage_estimator`. Their advantages are the
            prompt weight f′(p), estimated from the other completions, times the leave-one-out advantage.
        success_threshold (`float`, *optional*):
            A completion is correct (1) if its reward, the weighted sum over the reward functions, is at least this
            number, and incorrect (0) otherwise. This is done before advantages are formed. If `None`, rewards are used
            as they are: 0/1 rewards give pass@k, real rewards give max@k, the expected best reward of k completions.
            The monitor and the `passk/pass@{k}` metrics need 0/1 rewards or this threshold.
        scale_rewards (`str` or `bool`, *optional*):
            Scale of the advantages. Supported values are:

            - `False` or `"none"` (default, unless the estimator is `"grpo"`): no scaling. The gradient is unbiased.
              Unscaled pass@k advantages are several times smaller than GRPO's. Adam does not depend on the scale, so
              GRPO's learning rates can be kept; `max_grad_norm` clips less often.
            - `"batch"`: all advantages of the batch are divided by their root mean square. The direction of the
              batch's gradient does not change, and magnitudes are like GRPO's for every k. Choose it with an optimizer
              that depends on the scale, or with `beta > 0` or an entropy bonus, whose weight relative to the
              advantages otherwise changes with the size of the advantages.
            - `True` or `"group"` (TRL's default): refused, except with `"grpo"`. It multiplies each prompt by
              1/sqrt(p(1−p)), a second, hidden weight besides k(1−p)^(k−1).
        loss_type (`str`, *optional*):
            The loss formulation, as in TRL. The default is `"dr_grpo"`, which divides by a constant, so that the
            expected gradient of the loss is exactly the pass@k gradient; with the estimator `"grpo"`, it is TRL's own
            default. `"dapo"` divides by the number of tokens in the batch: the same direction, but another scale for
            each batch. `"grpo"`, `"sapo"` and `"bnpo"` weight completions by their length, and give a warning.
    """

    pass_at_k: int = field(
        default=1,
        metadata={
            "help": "The k of pass@k, the objective trained: the probability that at least one of k completions is "
            "correct. Between 1 and `num_generations`. The estimate has little noise if `num_generations` is several "
            "times k."
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
            "help": "Another objective than pass@k: a function of a prompt's success probability. Supported values "
            "are: 'pass@k' and 'max@k' (set `pass_at_k`), 'majority@k' (odd k), 'maxrl' (log-likelihood of success), "
            "'maxrl@k' (to order k), 'power:a' (p^a), 'risk:b' (RS-GRPO's exponential utility), and 'grpo' (what "
            "GRPO's scaling maximizes). If `None`, pass@k with k = `pass_at_k`."
        },
    )
    success_threshold: float | None = field(
        default=None,
        metadata={
            "help": "A completion is correct (1) if its reward, the weighted sum over the reward functions, is at "
            "least this number, and incorrect (0) otherwise. If `None`, rewards are used as they are: 0/1 rewards "
            "give pass@k, real rewards give max@k, the expected best reward of k completions."
        },
    )
    scale_rewards: str | None = field(  # None: chosen by the estimator
        default=None,
        metadata={
            "help": "Scale of the advantages. 'none' (default, unless the estimator is 'grpo'): no scaling, the "
            "gradient is unbiased; 'batch': all advantages of the batch are divided by their root mean square; "
            "'group' (TRL's default) is refused, except with the estimator 'grpo': it weights prompts a second time."
        },
    )
    loss_type: str | None = field(  # None: chosen by the estimator
        default=None,
        metadata={
            "help": "The loss formulation, as in TRL. The default is 'dr_grpo', whose expected gradient is exactly "
            "the pass@k gradient; with the estimator 'grpo', it is TRL's own default. 'grpo', 'sapo' and 'bnpo' "
            "weight completions by their length, and give a warning."
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
        self._check_ranges()
        if self.objective is not None:
            self._resolve_objective(self.objective)
        self._check_objective()
        if not keeps_trl_advantages:
            self._check_weights_survive()

    def _check_ranges(self) -> None:
        """Raises `ValueError` for a number out of range. A `None` stands for a default."""
        for name, (least, most) in (_RANGES | _ABOVE_ZERO).items():
            value = getattr(self, name)
            if value is None or (least <= value <= most and not (name in _ABOVE_ZERO and value == 0)):
                continue
            lower = f"more than {least}" if name in _ABOVE_ZERO else f"{least} or more"
            upper = "" if most == inf else f", up to {most}"
            raise ValueError(f"{name}={value} is out of range; set {lower}{upper}.")
        for name, known in {"loss_type": _LOSS_TYPES, "importance_sampling_level": ("token", "sequence")}.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name}={getattr(self, name)!r} is unknown; set one of {', '.join(known)}.")

    def _resolve_objective(self, name: str) -> None:
        """Checks the objective, and turns pass@k into `pass_at_k`."""
        objective = objective_from(name)
        is_passk = name.startswith(("pass@", "max@"))
        if self.pass_at_k not in ((1, objective.attempts) if is_passk else (1,)):
            raise ValueError(
                f"pass_at_k={self.pass_at_k} is another objective than objective={name!r}; set one of the two."
            )
        if is_passk:  # from here on it is spelt as pass_at_k, which every estimator can take
            self.pass_at_k, self.objective = objective.attempts, None
            return
        if self.advantage_estimator != "weighted_loo":
            raise ValueError(
                f"advantage_estimator={self.advantage_estimator!r} is an estimator of pass@k, not of "
                f"objective={name!r}; leave it at 'weighted_loo'."
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
            raise ValueError(
                f"pass_at_k={self.pass_at_k} is not a number of attempts; set a whole number, at least 1."
            )
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
