"""The two public functions: the Gram matrix of per-prompt gradients, and the gradients themselves as rows."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch import Tensor, nn

from passk_trl.distributed.ranks import failing_together, gather_list, is_last_rank, largest

from .causal_lm import CausalLM
from .options import GradientOptions
from .passes import take_passes
from .plan import Plan
from .projections import HEAD_DRAWS, Projections
from .scored_rollouts import ScoredRollouts
from .selection import Coverage, select
from .store import ExactStore, SketchStore, Store, add_whole, fit_exactly
from .survey import survey
from .through_activations import add_through_activations
from .through_parameters import add_through_parameters


@dataclass(frozen=True)
class GramMatrix:
    """
    Inner products of the per-prompt gradients.

    Args:
        gram_MNN (`torch.Tensor`):
            M independent unbiased estimates of ⟨ĝ_i, ĝ_j⟩, float64 of shape `(M, N, N)`. With whole gradients M = 1,
            and the one estimate is exact.
        coverage ([`Coverage`]):
            Which of the trainable parameters the gradients cover.
        store (`str`):
            `"exact"` or `"sketch"`.
        step_MN (`torch.Tensor`, *optional*):
            M estimates of ⟨ĝ_i, Δθ⟩, float64 of shape `(M, N)`; `None` if no step was given.
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
            Which of the trainable parameters they cover.
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
    reset_engine: Callable[[], None] = lambda: None,
    step: Callable[[str], Tensor] | None = None,
) -> GramMatrix:
    """
    Gram matrix of the prompts' success gradients ĝ_i = (1/(n−1)) Σ_j (r_ij − r̄_i) ∇log π(y_ij | x_i).

    One forward and one backward pass over the rollouts are enough for every k, after a few small forward passes that
    find out how each parameter is measured. The model is in evaluation mode during them (no dropout, no gradient
    checkpointing) and is left as it was: with its modes, without new hooks or `.grad`.

    The gradient is that of the policy that sampled the rollouts: each token is at its own place in its rollout,
    however a batch is padded. TRL's training pass sends no positions, so a model with absolute positions is trained
    with those of shorter prompts shifted.

    In a distributed run all ranks call this together, each with its own prompts. Each gets the Gram matrix of the
    prompts of all ranks, in the order of ranks. Ranks may have different numbers of prompts, rollouts and tokens.

    Args:
        model ([`~transformers.PreTrainedModel`] or [`~peft.PeftModel`]):
            The policy, unwrapped from any engine.
        rollouts ([`ScoredRollouts`]):
            This rank's prompts with their scored rollouts.
        pad_token_id (`int`):
            Token with which rollouts are padded to one length.
        temperature (`float`, *optional*, defaults to `1.0`):
            Sampling temperature, at which the score is taken.
        method (`str`, *optional*, defaults to `"activations"`):
            `"activations"` forms the gradients of linear layers, embeddings, norms and experts from their input and
            the gradient at their output, where a small forward pass shows that this is right. It asks autograd for
            those of all other parameters in the same backward pass, one prompt a pass. It works under every engine.
            `"parameters"` asks autograd for all, one prompt at a time. It is the reference, and works with one
            process, DDP and ZeRO.
        store (`str`, *optional*, defaults to `"exact"`):
            `"exact"` keeps whole gradients, prompts × parameters numbers. `"sketch"` keeps random projections of a
            fixed size, whose inner products are unbiased; 14 independent ones show their error. `"auto"` is
            `"exact"` where that needs at most 1 GiB on each rank, else `"sketch"`.
        parameters (`str`, *optional*, defaults to `"all"`):
            `"all"` for all trainable parameters, or a regular expression that is searched in the names of modules and
            parameters, such as `"q_proj|v_proj"`. A tied parameter is taken with all its roles.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the sketch, the same on all ranks.
        batch_size (`int`, *optional*):
            Prompts in a forward pass, the same on all ranks. Chosen from their tokens if `None`, and 1 where autograd
            is asked, or where padding changes what the model computes. When memory runs out on one rank, it is halved
            on all ranks that share the pass; at one prompt, the rollouts are divided.
        autocast (`Callable`, *optional*):
            Makes the context that the forward pass runs in, such as `accelerator.autocast`.
        on_batch (`Callable[[int], None]`, *optional*):
            Called after each batch with the number of its prompts.
        reset_engine (`Callable[[], None]`, *optional*):
            Called after a pass that ran out of memory, before the next, so that the engine drops the state of the
            first.
        step (`Callable[[str], torch.Tensor]`, *optional*):
            Returns the change of the whole parameter with a given name in a step Δθ of the weights, such as
            [`~passk_trl.distributed.displacement.Displacement.of`]; called on all ranks together. The inner product of
            the step with each gradient is returned too.

    Returns:
        [`GramMatrix`]: float64 inner products on the CPU, and the coverage of the trainable parameters.

    Raises:
        `ValueError`: if `method` or `store` is unknown, `parameters` selects nothing, there is no prompt, the rollouts
            of a batch influence one another, or a custom `torch.autograd.Function` hides a parameter from autograd.
    """
    options = GradientOptions(
        pad_token_id=pad_token_id,
        temperature=temperature,
        method=method,
        store=store,
        parameters=parameters,
        seed=seed,
        batch_size=batch_size,
        autocast=autocast,
        on_batch=on_batch,
        reset_engine=reset_engine,
        step=step,
    )
    gradients, coverage, store = _gradients(model, rollouts, options)
    gram_MNN = gradients.gram()
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
    The rows whose inner products [`gram_matrix`] returns. They can be saved, and the products taken later, of more
    prompts than one call has. Rows of several calls can be combined if the calls have the same `store`, `parameters`,
    `seed` and, for sketches, the same kind of device: the projections are drawn with its random numbers.

    Args:
        model, rollouts, …:
            As for [`gram_matrix`].

    Returns:
        [`GradientRows`]: of this rank's prompts alone, on the model's device.

    Raises:
        `ValueError`: as for [`gram_matrix`].
    """
    options = GradientOptions(
        pad_token_id=pad_token_id,
        temperature=temperature,
        store=store,
        parameters=parameters,
        seed=seed,
        autocast=autocast,
        on_batch=on_batch,
    )
    gradients, coverage, store = _gradients(model, rollouts, options)
    return GradientRows(gradients.rows(), coverage, store)


def _gradients(model: Any, rollouts: ScoredRollouts, options: GradientOptions) -> tuple[Store, Coverage, str]:
    """The gradients of [`gram_matrix`] in their store, what they cover, and the store's name."""
    model = extract_model_from_parallel(model, keep_torch_compile=False)
    device = next(model.parameters()).device
    causal_lm = CausalLM(model, options.temperature, options.autocast)
    with ready_for_gradients(model):
        selected = select(model, options.parameters)
        most_prompts = largest(rollouts.num_prompts, device)
        if most_prompts == 0:
            raise ValueError("there is no prompt whose rollouts could all be scored; check the reward functions.")
        through_activations = options.method == "activations"
        with failing_together():
            plan = survey(causal_lm, selected, device) if through_activations else Plan.of_autograd(selected)
        if len(set(gather_list([plan.summary]))) > 1:
            raise RuntimeError("the ranks would form gradients in different ways; set batch_size=1, or parameters=.")
        name = options.store
        if name == "auto":
            name = "exact" if fit_exactly(most_prompts, sum(each.size for each in selected)) else "sketch"
        # A step of the weights is one row more, the last of the last rank's.
        num_rows = rollouts.num_prompts + (1 if options.step is not None and is_last_rank() else 0)
        projections = Projections(options.seed, dict.fromkeys(plan.head.values(), HEAD_DRAWS))
        exact, sketches = ExactStore(num_rows, plan.shapes), SketchStore(num_rows, plan.shapes, projections)
        store = exact if name == "exact" else sketches  # neither takes memory before it is added to
        add = add_through_activations if through_activations else add_through_parameters
        add_gradients = partial(add, causal_lm, plan, store)
        roll_call, one_prompt = causal_lm.roll_call, plan.one_prompt_a_pass
        take_passes(add_gradients, store.forget, rollouts, roll_call, device, options, one_prompt)
        coverage = plan.coverage(_left_out(causal_lm, plan, store, rollouts, options))
        if options.step is not None:
            _add_step(store, plan, options.step, list(range(rollouts.num_prompts, num_rows)))
    return store, coverage, name


def _left_out(
    causal_lm: CausalLM, plan: Plan, store: Store, rollouts: ScoredRollouts, options: GradientOptions
) -> set[str]:
    """
    The parameters whose gradient was not formed although it is not zero. Where no gradient reached a layer in closed
    form, autograd is asked, in a pass of one prompt, whether it knows of one.
    """
    unformed = plan.not_among(store.formed())
    if not unformed:
        return set()
    asked = Plan.of_autograd(unformed)
    answers = SketchStore(1, asked.shapes, Projections(options.seed))
    add_gradients = partial(add_through_activations, causal_lm, asked, answers)
    device, options = next(causal_lm.model.parameters()).device, replace(options, on_batch=None)
    take_passes(add_gradients, answers.forget, rollouts.clearest(), causal_lm.roll_call, device, options, True)
    return set(gather_list([name for name, rows in answers.rows().items() if rows.any()]))


def _add_step(store: Store, plan: Plan, step: Callable[[str], Tensor], rows: list[int]) -> None:
    """Adds a step of the weights as if it were one prompt's gradient, in the rows given: one or none."""
    for name in plan.shapes:
        change = step(name)
        with failing_together():
            if rows:
                add_whole(store, name, rows, change)


@contextmanager
def ready_for_gradients(model: nn.Module) -> Iterator[None]:
    """
    Inside, there is no dropout, and no compiled graph, which would hide what hooks have to see. transformers does not
    checkpoint either; [`checkpointed`] does.
    Afterwards each module is in the mode that it had before.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.inference_mode(False), torch.enable_grad(), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        for module, training in modes.items():
            if type(module).train is not nn.Module.train:  # it may do more, such as merging an adapter
                module.train(training)
        for module, training in modes.items():
            module.training = training
