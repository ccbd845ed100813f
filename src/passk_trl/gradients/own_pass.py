"""A pass of the monitor's own over some rows of a training batch, as TRL takes them: with images, masks and all."""

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from trl.trainer.utils import split_pixel_values_by_grid, unsplit_pixel_values_by_grid

from passk_trl.distributed.engine import engine_reset_afterwards
from passk_trl.distributed.ranks import failing_together, largest
from passk_trl.distributed.sharded_parameters import engine_kept_out
from passk_trl.rollout_trainer import RolloutTrainer

from .causal_lm import CausalLM
from .checkpointing import checkpointed
from .gram import ready_for_gradients
from .head_gradients import HeadOfTraining
from .rules import Layer, grouped
from .store import Store
from .taps import new_anchor, tapped
from .training_pass import check_has_rows, trained_tokens


# (places of rows in the batch, their gradients `(n, M, D)`) → adds them where they belong.
AddRows = Callable[[list[int], Tensor], None]


class OwnPasses:
    """
    Takes rows through the model, as many at a time as training does, or fewer once memory has run out.

    Args:
        trainer ([`~trl.GRPOTrainer`] or [`~trl.RLOOTrainer`]):
            The trainer, whose method gives the log-probabilities.
        causal_lm ([`CausalLM`]):
            Its model.
        layers (`list[Layer]`), head ([`~passk_trl.gradients.head_gradients.HeadOfTraining`], *optional*):
            What is measured.
    """

    def __init__(self, trainer: RolloutTrainer, causal_lm: CausalLM, layers: list[Layer], head: HeadOfTraining | None):
        self._trainer = trainer
        self._causal_lm = causal_lm
        self._layers = layers
        self._head = head
        self._size = trainer.args.per_device_train_batch_size

    def take(self, new_store: Callable[[int], Store], batch: dict[str, Any], weights_B: Tensor, add: AddRows) -> None:
        """
        Takes the rows whose weight is not 0. Ranks take each pass together: one that has no row left takes its first
        again, and adds nothing.

        Args:
            new_store (`Callable[[int], Store]`):
                Makes an empty store for so many rows.
            batch (`dict`):
                This rank's rows, as TRL's generation returned them.
            weights_B (`torch.Tensor`):
                w, the weight of each row's score.
            add (`Callable`):
                Called with the places of some rows, and their w ∇log π(y).

        Raises:
            `torch.OutOfMemoryError`: on all ranks, if memory runs out on one for a single row.
        """
        with failing_together():
            rows, by_row = weights_B.nonzero().flatten().tolist(), split_pixel_values_by_grid(batch)
        while largest(len(rows), self._trainer.accelerator.device) > 0:
            some = rows[: self._size]
            try:
                with failing_together():  # before the ranks wait for one another in the model
                    store, inputs = new_store(len(some) or 1), _rows_of(by_row, some or [0])
                    weights_BT = _token_weights(inputs, weights_B[some or [0]])
                with failing_together():
                    with engine_reset_afterwards(self._trainer), ready_for_gradients(self._causal_lm.model):
                        self._pass(store, inputs, weights_BT)
                    rows_BMD = torch.cat(list(store.rows().values()), dim=2)
            except torch.OutOfMemoryError:
                if self._size == 1:
                    raise
                self._size //= 2  # also of the passes to come
                clear_device_cache()
                continue
            with failing_together():
                add(some, rows_BMD[: len(some)])
            rows = rows[len(some) :]

    def _pass(self, store: Store, inputs: dict[str, Any], weights_BT: Tensor) -> None:
        """Adds w ∇log π(y) of each row to the store."""
        rows, anchor = list(range(len(weights_BT))), new_anchor()
        num_tokens = inputs["prompt_ids"].numel() + inputs["completion_ids"].numel()

        def on_gradient(layer: Layer, a: Tensor, b: Tensor) -> None:
            check_has_rows(layer, len(rows), num_tokens, a)
            layer.rule(store, layer, rows, *grouped(len(rows), a, b))

        model = self._causal_lm.model
        with self._causal_lm.roll_call.taken(), engine_kept_out(model, ()), checkpointed(model), ExitStack() as undo:
            undo.enter_context(tapped(self._layers, anchor, on_gradient))
            if self._head is not None:
                undo.callback(self._head.forget)  # what it keeps holds the graph
                undo.callback(self._head.watch().remove)
            log_probs_BT = _log_probs(self._trainer, model, inputs)
            if self._head is not None:
                every_row = torch.arange(len(rows), device=weights_BT.device)
                self._head.add(store, rows, every_row, inputs["completion_ids"], weights_BT)
            if self._layers:  # or the head is all there is, and was taken above
                torch.autograd.grad((log_probs_BT * weights_BT).sum(), [anchor])


def _token_weights(inputs: dict[str, Any], weights_B: Tensor) -> Tensor:
    """w of each token of the completions, `(B, T)`; 0 where TRL does not train."""
    trained_BT = trained_tokens(inputs)
    return trained_BT * weights_B.to(trained_BT.device, torch.float32).unsqueeze(1)


def _rows_of(by_row: dict[str, Any], rows: list[int]) -> dict[str, Any]:
    """Some rows of a batch whose images TRL has split by rows."""

    def chosen(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[rows] if value.dim() > 0 else value
        return None if value is None else [value[row] for row in rows]

    return unsplit_pixel_values_by_grid({name: chosen(value) for name, value in by_row.items()})


def _log_probs(trainer: Any, model: Any, inputs: dict[str, Any]) -> Tensor:
    """Of the completions' tokens, `(B, T)`, with all that the trainer's own method takes from a batch."""
    of_trainer = trainer._get_per_token_logps_and_entropies
    taken = {name: inputs[name] for name in inspect.signature(of_trainer).parameters if name in inputs}
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    mask = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    return of_trainer(model, ids, mask, inputs["completion_ids"].size(1), **taken)[0]
