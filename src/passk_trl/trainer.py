"""PassKGRPOTrainer: TRL's GRPOTrainer with its advantages replaced by those of pass@k."""

import functools
import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainerCallback
from transformers.trainer_utils import EvalLoopOutput, has_length
from trl import GRPOTrainer

from .config import PassKGRPOConfig
from .control import Controller, Situation
from .control.batch_gram import batch_gram
from .control.controller import check_controllable
from .estimators import passk_advantages
from .interference import InterferenceReport
from .monitor import ConflictMonitor
from .monitor.trackers import add_tracker_figures
from .objectives import objective_from
from .private_names import check_private_names
from .reports.run import run_so_far
from .rollouts.metrics import passk_metrics
from .rollouts.success import are_binary, are_unscorable, combine_rewards


logger = logging.getLogger(__name__)


class PassKGRPOTrainer(GRPOTrainer):
    """
    [`~trl.GRPOTrainer`] for pass@k: it takes exactly the same arguments, and `args.pass_at_k` sets k.

    TRL generates the completions, scores them and computes the loss as usual. Only the advantages are replaced, by
    [`~passk_trl.estimators.passk_advantages`] of the same rewards, so every option of TRL (several reward functions,
    `num_iterations`, `steps_per_generation`, PEFT, vLLM, evaluation) keeps its meaning. With
    `advantage_estimator="grpo"` and `pass_at_k=1`, TRL's own advantages stay and training is bit-for-bit GRPO.

    With `args.objective` set, the advantages are those of another objective than pass@k, such as majority vote or the
    log-likelihood of success ([`passk_trl.objectives`]).

    With several reward functions, `multi_objective_aggregation="sum_then_normalize"` forms the advantages of the
    summed reward. `"normalize_then_sum"` sums the advantages of each reward, which gives the gradient of the weighted
    sum of their max@k.

    Logged in addition to TRL's metrics:

    - `passk/pass@{k}` for k = 1, 2, 4 … n and the k trained for: unbiased pass@k (Chen et al. 2021, eq. 1) of the
      rollouts of each training batch and, with the prefix `eval_`, of each evaluation.
    - `passk/pass^{k}` for the same k above 1: unbiased pass^k, the probability that all of k rollouts are correct.
      Pass@k may rise while this reliability falls. With real rewards and no `success_threshold`, both are replaced by
      `passk/max@{k}`, the unbiased expected maximum of k rewards.
    - `passk/zero_advantage_fraction`: the fraction of the training batch's groups that have no gradient.

    In evaluation each row of the dataset counts once. A distributed sampler repeats rows to fill its last batch; TRL's
    averages count these twice, and the metrics here do not (except with an iterable dataset, whose end is not known).

    A [`ConflictMonitor`] among the `callbacks` is bound to the trainer. A [`passk_trl.control`] controller among them
    decides the advantages, from the reports of the first monitor, of a ride the latest alone. Its decisions are logged
    as `control/*`.

    Args:
        model, reward_funcs, …:
            As for [`~trl.GRPOTrainer`].
        args ([`PassKGRPOConfig`], *optional*):
            Configuration for this trainer. If `None`, a default configuration is used.

    Raises:
        `TypeError`: if `args` is not a [`PassKGRPOConfig`].

    Source: Barakat et al. 2026 (arXiv 2602.21189), eq. 2: ∇J_k = E[k(1−p)^(k−1) ∇p].
    """

    _tag_names: ClassVar = ["trl", "grpo", "pass-at-k"]
    _name = "Pass@k GRPO"
    _paper: ClassVar[dict[str, str]] = {}  # no one paper introduced it; create_model_card says what is whose

    @functools.wraps(GRPOTrainer.__init__)  # type: ignore[misc]  # shows TRL's signature
    def __init__(
        self, model: Any, reward_funcs: Any = None, args: PassKGRPOConfig | None = None, *more_args: Any, **kwargs: Any
    ) -> None:
        if args is None:
            name = model if isinstance(model, str) else model.config.name_or_path
            args = PassKGRPOConfig(f"{name.split('/')[-1]}-PassK-GRPO")
        if not isinstance(args, PassKGRPOConfig):
            raise TypeError(f"args is a {type(args).__name__}; give PassKGRPOTrainer a PassKGRPOConfig.")
        super().__init__(model, reward_funcs, args, *more_args, **kwargs)
        self._binary_rewards = True  # until a reward other than 0 and 1 is seen
        self._eval_rewards: list[Tensor] = []  # [P, G] of each batch of an evaluation
        for callback in list(self.callback_handler.callbacks):
            self._bind(callback)
        check_private_names(self)

    def add_callback(self, callback: TrainerCallback | type[TrainerCallback]) -> None:
        if isinstance(callback, ConflictMonitor) and callback in self.callback_handler.callbacks:
            return  # a second time, it would make each report twice
        super().add_callback(callback)
        self._bind(self.callback_handler.callbacks[-1])  # an instance, also if a class was given

    def _bind(self, callback: Any) -> None:
        if isinstance(callback, ConflictMonitor):
            callback.bind(self)
            add_tracker_figures(self)
        if isinstance(callback, Controller):
            check_controllable(self.args, self._callbacks_of(Controller))

    def _callbacks_of(self, kind: type) -> list[Any]:
        return [callback for callback in self.callback_handler.callbacks if isinstance(callback, kind)]

    # The swap. The first override keeps the rewards that TRL gathers over all processes, as whole groups in order. The
    # second replaces the advantages that TRL made of them.

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Tensor:
        rewards_F = super()._calculate_rewards(*args, **kwargs)
        # TRL leaves a rollout out only where all functions returned None, those of weight 0 too.
        unscorable = are_unscorable(rewards_F, self.reward_weights)
        self._gathered_rewards = rewards_F.masked_fill(unscorable.unsqueeze(-1), torch.nan)
        return self._gathered_rewards

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        num_generations = self.num_generations if self.model.training else self.num_generations_eval
        # On the CPU: a few kilobytes, in float64, which some accelerators do not have.
        rewards_PGF = self._gathered_rewards.view(-1, num_generations, len(self.reward_funcs)).cpu()
        rewards_PG = combine_rewards(rewards_PGF, self.reward_weights, self.args.success_threshold)
        self._binary_rewards &= are_binary(rewards_PG)
        if not self.model.training:
            self._eval_rewards.append(rewards_PG)  # for evaluation_loop; advantages do not matter in an evaluation
            return output

        if self.args.advantage_estimator == "grpo":
            advantages_PG = self.accelerator.gather(output["advantages"]).view_as(rewards_PG)
        else:
            advantages_PG = self._advantages(rewards_PGF, rewards_PG, output)
            first = self.accelerator.process_index * len(inputs)
            output["advantages"] = advantages_PG.flatten()[first : first + len(inputs)].to(output["advantages"])
            _replace_last(self._logs["advantages"], advantages_PG.flatten().tolist())

        metrics = passk_metrics(rewards_PG, self.args.pass_at_k, self._binary_rewards)
        metrics["passk/zero_advantage_fraction"] = (advantages_PG == 0).all(dim=1).double().mean().item()
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)
        return output

    def _advantages(self, rewards_PGF: Tensor, rewards_PG: Tensor, batch: dict[str, Any]) -> Tensor:
        """`(P, G)`: what a controller decides, if there is one, or else the advantages of the objective."""
        if controllers := self._callbacks_of(Controller):
            advantages_PG = self._controlled_advantages(controllers[0], rewards_PG, batch)
        elif self.multi_objective_aggregation == "normalize_then_sum":
            per_reward_FPG = self._objective_advantages(rewards_PGF.movedim(-1, 0))
            advantages_PG = torch.einsum("fpg,f->pg", per_reward_FPG, self.reward_weights)
        else:
            advantages_PG = self._objective_advantages(rewards_PG)
        if self.scale_rewards == "batch":
            advantages_PG = advantages_PG / (advantages_PG.square().mean().sqrt() + 1e-4)
        return advantages_PG

    def _objective_advantages(self, rewards: Tensor) -> Tensor:
        if self.args.objective is not None:
            return objective_from(self.args.objective).advantages(rewards)
        return passk_advantages(rewards, k=self.args.pass_at_k, estimator=self.args.advantage_estimator)

    def _controlled_advantages(self, controller: Controller, rewards_PG: Tensor, batch: dict[str, Any]) -> Tensor:
        monitors = self._callbacks_of(ConflictMonitor)
        if controller.needs_reports and not monitors:
            raise ValueError(f"{type(controller).__name__} acts on reports; add a ConflictMonitor to the callbacks.")
        decision = controller.decide(
            Situation(
                k=self.args.pass_at_k,
                progress=min(1.0, self.state.global_step / max(1, self.state.max_steps)),
                rewards_PG=rewards_PG,
                reports=_reports_to_act_on(monitors[0]) if monitors else (),
                gram=functools.partial(batch_gram, self, batch, rewards_PG),
            )
        )
        for name, value in decision.logged.items():
            self._metrics["train"][f"control/{name}"].append(value)
        if self.accelerator.is_main_process:
            controller.warn_of_blindness(decision.blind)
        return decision.advantages_PG

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """
        Writes TRL's model card, with base model, k, n, objective, pass@k before and after, conflict and onset.

        Args:
            model_name, dataset_name, tags:
                As for [`~trl.GRPOTrainer`].
        """
        super().create_model_card(*args, **kwargs)
        if not self.is_world_process_zero():
            return
        try:
            self._add_to_model_card()
        except Exception:  # the other ranks go on, and so must this one
            logger.exception("%s has no part about pass@k in its model card; training goes on.", self.args.output_dir)

    def _add_to_model_card(self) -> None:
        from .reports.model_card import add_to_model_card  # matplotlib, behind it, takes a second to import

        monitors = self._callbacks_of(ConflictMonitor)
        name = self.args.objective or f"pass@{self.args.pass_at_k}"
        run = run_so_far(name, self.args.pass_at_k, self.state.log_history, monitors[0].records if monitors else [])
        base = self.model.config.name_or_path
        base = Path(base).name if Path(base).is_dir() else base  # where it is on this machine is nobody's business
        controllers = self._callbacks_of(Controller)
        advantages = type(controllers[0]).__name__ if controllers else self.args.advantage_estimator
        card = Path(self.args.output_dir, "README.md")
        add_to_model_card(card, run, base or "made from scratch", self.num_generations, advantages)

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, num_train_epochs: int, *args: Any
    ) -> tuple[int, int]:
        """Where training begins. A resumed run that has ended has no epoch left. transformers trains one more step."""
        epoch, batches = super()._init_training_state(max_steps, steps_per_epoch, num_train_epochs, *args)
        return (num_train_epochs, 0) if self.state.global_step >= max_steps else (epoch, batches)

    def evaluation_loop(
        self, dataloader: DataLoader, *args: Any, metric_key_prefix: str = "eval", **kwargs: Any
    ) -> EvalLoopOutput:
        self._eval_rewards.clear()
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        rewards_PG = torch.cat(self._eval_rewards)  # in the order of the sampler, which repeats rows at the end
        if has_length(dataloader.dataset):
            rewards_PG = rewards_PG[: self.num_examples(dataloader)]
        for name, value in passk_metrics(rewards_PG, self.args.pass_at_k, self._binary_rewards).items():
            output.metrics[f"{metric_key_prefix}_{name}"] = value
        return output


def _reports_to_act_on(monitor: ConflictMonitor) -> Sequence[InterferenceReport]:
    """Reports with no prompt in common, which a controller may average: of a ride the latest, on the whole window."""
    return monitor.reports[-1:] if monitor.settings.ride else monitor.reports


def _replace_last(logged: deque[float], values: list[float]) -> None:
    """Replaces the end of a bounded deque, to which TRL has just added its own advantages."""
    for _ in range(min(len(values), len(logged))):
        logged.pop()
    logged.extend(values)
