"""The two roads to the Gram matrix: through activations, and through parameter gradients as the reference."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache
from torch import Tensor, nn

from passk_trl.distributed.ranks import failing_together, is_last_rank, largest
from passk_trl.distributed.roll_call import RollCall

from .causal_lm import CausalLM
from .layers import Coverage, Layer, find_layers, shape, tapped
from .scored_rollouts import PaddedBatch, ScoredRollouts, longest_first, no_rollouts, padded
from .store import ExactStore, SketchStore, Store, fit_exactly


# Logits are formed for this many numbers at a time, 4 MB in float32 of which a few copies live, or for so many tokens
# if these are more: fewer do not fill a GPU.
_LOGITS_AT_A_TIME = 2**20
_FEWEST_TOKENS_AT_A_TIME = 128

TOKENS_AT_A_TIME = 2**13
"""About how many tokens a forward pass takes where `batch_size` is not given."""


@dataclass(frozen=True)
class GramMatrix:
    """
    Inner products of the per-prompt gradients.

    Args:
        gram_MNN (`torch.Tensor`):
            M independent unbiased estimates of ⟨ĝ_i, ĝ_j⟩, float64 of shape `(M, N, N)`; one, and exact, where
            gradients were kept whole.
        coverage ([`Coverage`]):
            Which of the trainable parameters they take in.
        store (`str`):
            `"exact"` or `"sketch"`.
        step_MN (`torch.Tensor`, *optional*):
            M estimates of ⟨ĝ_i, Δθ⟩, float64 of shape `(M, N)`, where a step was given.
    """

    gram_MNN: Tensor
    coverage: Coverage
    store: str
    step_MN: Tensor | None = None

    @property
    def gram_NN(self) -> Tensor:
        """The mean of the estimates, `(N, N)`."""
        return self.gram_MNN.mean(dim=0)


@dataclass(frozen=True)
class GradientRows:
    """
    The per-prompt gradients themselves, whole or sketched, of this rank's prompts.

    Args:
        rows (`dict[str, torch.Tensor]`):
            Parameter → `(n_rank, M, numbers)`, float32; [`gram_of_rows`] takes their inner products.
        coverage ([`Coverage`]):
            Which of the trainable parameters they take in.
        store (`str`):
            `"exact"` or `"sketch"`.
    """

    rows: dict[str, Tensor]
    coverage: Coverage
    store: str


def gram_matrix(
    model: Any,
    rollouts: ScoredRollouts,
    pad_token_id: int,
    temperature: float = 1.0,
    method: str = "activations",
    store: str = "exact",
    parameters: str = "all",
    seed: int = 0,
    batch_size: int | None = None,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    on_batch: Callable[[int], None] | None = None,
    put_to_rest: Callable[[], None] = lambda: None,
    step: Callable[[str], Tensor] | None = None,
) -> GramMatrix:
    """
    Gram matrix of the prompts' success gradients ĝ_i = (1/(n−1)) Σ_j (r_ij − r̄_i) ∇log π(y_ij | x_i).

    One forward and one backward pass over the rollouts serve every k. The model is put in evaluation mode meanwhile
    (no dropout, no gradient checkpointing) and left as it was found: no `.grad`, no hook stays behind.

    In a distributed run every rank calls this together, each with prompts of its own, and gets the Gram matrix of all
    ranks' prompts, in the order of ranks. Ranks may hold different numbers of prompts, rollouts and tokens.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
        rollouts ([`ScoredRollouts`]):
            This rank's prompts with their scored rollouts.
        pad_token_id (`int`):
            Token that fills up the batch.
        temperature (`float`, *optional*, defaults to `1.0`):
            Sampling temperature, at which the score is taken.
        method (`str`, *optional*, defaults to `"activations"`):
            `"activations"` forms each layer's gradient from its input and the gradient at its output, under every
            engine; `"parameters"` asks autograd for parameter gradients, one prompt at a time: the reference, for one
            process, DDP and ZeRO.
        store (`str`, *optional*, defaults to `"exact"`):
            `"exact"` keeps whole gradients, prompts × parameters numbers; `"sketch"` a random projection of fixed
            size, unbiased, with eight independent estimates that show its error; `"auto"` takes the first where it
            fits into 1 GiB a rank.
        parameters (`str`, *optional*, defaults to `"all"`):
            `"all"` trainable parameters, or a regular expression searched in module names, such as `"q_proj|v_proj"`.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sketch, the same on all ranks.
        batch_size (`int`, *optional*):
            Prompts in a forward pass, the same on all ranks. Chosen from their length if `None`. Halved on all ranks
            that share a pass when memory runs out on one; after that the rollouts of one prompt are.
        autocast (`Callable`, *optional*):
            Makes the context the forward pass runs in, such as `accelerator.autocast`.
        on_batch (`Callable[[int], None]`, *optional*):
            Called with the number of prompts done, after each batch.
        put_to_rest (`Callable[[], None]`, *optional*):
            Called after a pass that was broken off, before the next, for what an engine must be told of it.
        step (`Callable[[str], torch.Tensor]`, *optional*):
            Tells, whole and on all ranks together, how far the parameter of a name went in a step Δθ of the weights,
            such as [`~passk_trl.distributed.displacement.Displacement.of`]. Its inner product with each gradient is
            taken too.

    Returns:
        [`GramMatrix`]: float64 inner products on the CPU, and the coverage of the trainable parameters.

    Raises:
        `ValueError`: if `method` or `store` is unknown, `parameters` selects nothing, or the logits of the model are
        not a linear function of its last hidden state.
    """
    arguments = (pad_token_id, temperature, method, store, parameters, seed, batch_size, autocast, on_batch)
    kept, coverage, store = _gradients(model, rollouts, *arguments, put_to_rest, step)
    gram_MNN = kept.gram()
    if step is None:
        return GramMatrix(gram_MNN, coverage, store)
    return GramMatrix(gram_MNN[:, :-1, :-1], coverage, store, gram_MNN[:, -1, :-1])


def gradient_rows(
    model: Any,
    rollouts: ScoredRollouts,
    pad_token_id: int,
    temperature: float = 1.0,
    store: str = "exact",
    parameters: str = "all",
    seed: int = 0,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    on_batch: Callable[[int], None] | None = None,
) -> GradientRows:
    """
    The rows whose inner products [`gram_matrix`] returns, for those who save them and take the products later, of
    more prompts than one call has. Rows of several calls go together if they agree in `store`, `parameters`, `seed`
    and, for sketches, in the kind of device, whose random numbers the projections are made of.

    Args:
        model, rollouts, …:
            As for [`gram_matrix`].

    Returns:
        [`GradientRows`]: of this rank's prompts alone, on the model's device.

    Raises:
        `ValueError`: as [`gram_matrix`].
    """
    arguments = (pad_token_id, temperature, "activations", store, parameters, seed, None, autocast, on_batch)
    kept, coverage, store = _gradients(model, rollouts, *arguments)
    return GradientRows(kept.rows(), coverage, store)


def _gradients(
    model: Any,
    rollouts: ScoredRollouts,
    pad_token_id: int,
    temperature: float,
    method: str,
    store: str,
    parameters: str,
    seed: int,
    batch_size: int | None,
    autocast: Callable[[], AbstractContextManager],
    on_batch: Callable[[int], None] | None,
    put_to_rest: Callable[[], None] = lambda: None,
    step: Callable[[str], Tensor] | None = None,
) -> tuple[Store, Coverage, str]:
    """The gradients of [`gram_matrix`] in their store, what they cover, and the store's name."""
    if method not in ("activations", "parameters"):
        raise ValueError(f"method={method!r} is unknown; set 'activations' or 'parameters'.")
    if store not in ("auto", "exact", "sketch"):
        raise ValueError(f"store={store!r} is unknown; set 'auto', 'exact' or 'sketch'.")
    device = next(model.parameters()).device
    causal_lm = CausalLM(model, temperature, autocast)
    with _evaluation_mode(model), torch.enable_grad():
        layers, coverage = find_layers(model, parameters)
        if store == "auto":
            most_prompts = largest(rollouts.num_prompts, device)
            store = "exact" if fit_exactly(most_prompts, coverage.covered) else "sketch"
        if method == "parameters":
            batch_size = 1
        elif batch_size is None:
            batch_size = -largest(-_default_batch_size(rollouts), device)  # the smallest of all ranks
        one_batch = _through_activations if method == "activations" else _through_parameters
        if largest(rollouts.num_prompts, device) == 0:
            raise ValueError("there is no prompt whose rollouts could all be scored; check the reward functions.")
        # A step is one row more, the last of the last rank's.
        num_rows = rollouts.num_prompts + (1 if step is not None and is_last_rank() else 0)
        kept = ExactStore(num_rows) if store == "exact" else SketchStore(num_rows, seed)
        take = partial(one_batch, causal_lm, layers, kept)
        _take_passes(
            take, kept, causal_lm.roll_call, rollouts, pad_token_id, device, batch_size, on_batch, put_to_rest
        )
        if step is not None:
            _add_step(kept, layers, step, list(range(rollouts.num_prompts, num_rows)), flat=method == "parameters")
    return kept, coverage, store


def _take_passes(
    take: Callable[[PaddedBatch], None],
    kept: Store,
    roll_call: RollCall,
    rollouts: ScoredRollouts,
    pad_token_id: int,
    device: torch.device,
    batch_size: int,
    on_batch: Callable[[int], None] | None,
    put_to_rest: Callable[[], None],
) -> None:
    """
    Takes all prompts through the model, in batches that are halved where memory runs out.

    Where the model is sharded, a pass takes all ranks: one that is done keeps the others company, with a batch that
    adds zero. Else each rank goes alone, with one pass at least, and they meet when all are done.
    """
    sharded = roll_call.is_needed
    each_pass, all_passes = (failing_together, nullcontext) if sharded else (nullcontext, failing_together)
    pending = longest_first(rollouts)
    left = largest(len(pending), device)
    most_rollouts = largest(rollouts.num_rollouts, device)
    parts = 1  # that a prompt's rollouts are divided into, each of which takes a pass
    with all_passes():
        while left > 0:
            prompts = pending[:batch_size]
            try:
                for part in range(parts):
                    with each_pass(), roll_call.taken():
                        if prompts and part < rollouts.num_rollouts:
                            take(padded(rollouts, prompts, pad_token_id, device, slice(part, None, parts)))
                        else:
                            take(no_rollouts(pad_token_id, device))
            except torch.OutOfMemoryError:
                if batch_size == 1 and parts >= most_rollouts:
                    raise
                kept.forget(prompts)
                put_to_rest()
                clear_device_cache()
                batch_size, parts = (batch_size // 2, parts) if batch_size > 1 else (1, 2 * parts)
                continue
            pending = pending[batch_size:]
            left = largest(len(pending), device) if sharded else len(pending)
            if on_batch is not None:
                on_batch(len(prompts))


def _add_step(kept: Store, layers: list[Layer], step: Callable[[str], Tensor], rows: list[int], flat: bool) -> None:
    """Adds a step of the weights as if it were one prompt's gradient, in the rows given: one or none."""
    for name in dict.fromkeys(name for layer in layers for name in layer.parameters.values()):
        moved = step(name)
        with failing_together():
            if rows and (flat or moved.dim() == 1):
                kept.add_vector(name, rows, moved.reshape(1, -1))
            elif rows:
                each_row = torch.arange(moved.size(0), device=moved.device)
                kept.add_selected(name, moved.shape, rows, each_row[None], moved[None])


def _default_batch_size(rollouts: ScoredRollouts) -> int:
    longest = max(map(rollouts.length, range(rollouts.num_prompts)), default=1)
    return max(1, TOKENS_AT_A_TIME // (longest * rollouts.num_rollouts))


def _through_activations(causal_lm: CausalLM, layers: list[Layer], store: Store, batch: PaddedBatch) -> None:
    below_head = [layer for layer in layers if layer.module is not causal_lm.head_module]
    head_layer = next((layer for layer in layers if layer.module is causal_lm.head_module), None)

    def on_gradient(layer: Layer, a: Tensor, b: Tensor) -> None:
        if a.size(0) != batch.input_ids.size(0):
            raise ValueError(
                f"the layer '{layer.name}' mixes the tokens of all rollouts, so their gradients cannot be told apart; "
                "set parameters to a regular expression that leaves it out."
            )
        layer.rule(store, layer, batch, a, b)

    with tapped(below_head, on_gradient) as anchor, _unasked(causal_lm.model):
        hidden = causal_lm.last_hidden_state(batch)
        gradient = batch.ungroup(_through_head(causal_lm, head_layer, batch, hidden.detach(), store))
        if below_head:
            torch.autograd.grad(hidden, anchor, gradient.to(hidden.dtype))


@contextmanager
def _unasked(model: nn.Module) -> Iterator[None]:
    """ZeRO-3's linear layers form the gradient of each weight that requires one, whether it is asked for or not."""
    trained = [p for p in model.parameters() if p.requires_grad and hasattr(p, "ds_id")]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)


def _through_head(
    causal_lm: CausalLM, head_layer: Layer | None, batch: PaddedBatch, hidden: Tensor, store: Store
) -> Tensor:
    """Adds the head's own gradients to the store and returns the gradient at its input, `(B, n·C, H)`."""
    hidden_BKH = batch.predicting(hidden)
    gradient_BKH = torch.zeros_like(hidden_BKH, dtype=torch.float32)
    with causal_lm.head() as head:
        for block in _blocks(batch, vocabulary=head.weight.size(0)):
            h, prompts = hidden_BKH[block], batch.prompts[block[0]]
            b = head.output_gradient(h, batch.targets_BK[block], batch.token_weights_BK[block])
            gradient_BKH[block] = head.input_gradient(b)
            for own, name in head_layer.parameters.items() if head_layer is not None else ():
                if own == "weight":
                    store.add_outer(name, head.weight.shape, prompts, b, h)
                else:
                    store.add_vector(name, prompts, b.sum(dim=1))
    return gradient_BKH


def _blocks(batch: PaddedBatch, vocabulary: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of (prompts, tokens) whose logits fit the limit: several prompts each, or parts of one."""
    B, K = batch.token_weights_BK.shape
    fitting = max(_FEWEST_TOKENS_AT_A_TIME, _LOGITS_AT_A_TIME // vocabulary)
    tokens, prompts = min(K, fitting), max(1, fitting // K)
    for first in range(0, B, prompts):
        for start in range(0, K, tokens):
            yield slice(first, first + prompts), slice(start, start + tokens)


def _through_parameters(causal_lm: CausalLM, layers: list[Layer], store: Store, batch: PaddedBatch) -> None:
    # Tied parameters share a name, so that each is asked for once.
    parameters = {name: getattr(layer.module, own) for layer in layers for own, name in layer.parameters.items()}
    loss = (causal_lm.log_probs(batch) * batch.token_weights_BK).sum()
    gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    if all(gradient is None for gradient in gradients):
        raise ValueError(
            "autograd gave no parameter gradient, as under FSDP; set method='activations', which asks for none."
        )
    for (name, parameter), gradient in zip(parameters.items(), gradients, strict=True):
        if gradient is not None:
            store.add_vector(name, batch.prompts, gradient.reshape(1, *shape(parameter)).flatten(1))


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    """No dropout and no gradient checkpointing; each module is left in the mode it was found in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
