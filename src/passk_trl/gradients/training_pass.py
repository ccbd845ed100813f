"""Each prompt's gradient from a training step's own backward pass: no pass is made for it.

The gradient of a step's loss is Σ_j g_j Σ_t ∇log π(y_jt), where g_j = ∂loss/∂log π(y_jt) is the same for all tokens of
rollout j, as it is on-policy with every loss of TRL. So what arrives at a layer's output in the rows of rollout j is
g_j times the gradient of the rollout's score. The prompt's gradient Σ_j w_j ∇log π(y_j) follows with the factors
w_j/g_j. They are known before a layer is reached: the gradient comes from the log-probabilities. A rollout whose g_jt
differ between its tokens, or are 0, is told apart.

At the tokens of the prompt a layer's input is the same in all rollouts. There the gradients are added up first.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from passk_trl.distributed.ranks import without_tensors

from .head_gradients import HeadOfTraining
from .plan import Plan
from .rules import Layer, grouped
from .store import Store, Weights
from .taps import input_of, tap


# g of the tokens of one rollout may differ by so much, relative to the largest, by rounding.
_TOLERANCE = 1e-4


class TrainingPass:
    """
    Takes the gradients of the prompts of a generated batch while training takes its micro-batches through the model.

    What fails must not end the training. It is noted, and nothing of the batch is taken from then on.

    Args:
        layers (`list[Layer]`):
            What is measured; see [`measurable_in_training`].
        new_store (`Callable[[int], Store]`):
            Makes an empty store for so many prompts.
        head ([`~passk_trl.gradients.head_gradients.HeadOfTraining`], *optional*):
            The LM head, if it is measured.
        shares_prompts (`bool`, *optional*, defaults to `True`):
            Whether to add up the gradients at the tokens of the prompt first.

    Attributes:
        failure (`Exception`, *optional*): what failed first, on this rank.
    """

    def __init__(
        self,
        layers: list[Layer],
        new_store: Callable[[int], Store],
        head: HeadOfTraining | None = None,
        shares_prompts: bool = True,
    ):
        self._layers = layers
        self._head = head
        self._new_store = new_store
        self._shares_prompts = shares_prompts
        self._handles: list[Any] = []
        self._counted: CountedRollouts | None = None
        self._store: Store | None = None
        self.failure: Exception | None = None

    @contextmanager
    def failures_noted(self) -> Iterator[None]:
        """What fails inside is noted. The first failure stays."""
        try:
            yield
        except Exception as error:
            self.failure = self.failure or without_tensors(error)

    def begin(self, prompts: list[int | None], prompt_ids_BT: Tensor, num_tokens: int) -> None:
        """
        From here on, a forward pass of these rollouts puts a tap on the output of each layer.

        Args:
            prompts (`list[int | None]`): the prompt of each rollout; `None` for one that does not count.
            prompt_ids_BT (`torch.Tensor`): the tokens that each rollout begins with, on the device of the model.
            num_tokens (`int`): of all rollouts, padding included.
        """
        self._remove_taps()  # those of a step that did not come to its end
        self._counted = CountedRollouts(prompts, prompt_ids_BT, num_tokens, self._shares_prompts)
        self._store = self._new_store(len(self._counted.prompts))
        if not self._counted.prompts:
            return
        for layer in self._layers:
            hook = self._hook_of(layer, self._store, self._counted)
            # Before the hooks of others, which may change the output.
            self._handles.append(layer.module.register_forward_hook(hook, with_kwargs=True, prepend=True))
        if self._head is not None:
            self._handles.append(self._head.watch())

    def add_head(self, targets_BT: Tensor, weights_BT: Tensor) -> None:
        """
        Adds the LM head's part after the forward pass. All ranks call this together.

        Args:
            targets_BT (`torch.Tensor`): the completions of all rollouts.
            weights_BT (`torch.Tensor`): w of each of their tokens; 0 for one that is not trained on.
        """
        assert self._store is not None  # or there was no beginning
        assert self._counted is not None
        if self._head is not None:
            self._head.add(self._store, self._counted.places, self._counted.rows_R, targets_BT, weights_BT)

    def without_head(self) -> None:
        """Takes the place of [`add_head`] on a rank that takes no gradients."""
        if self._head is not None:
            self._head.meet()

    def weigh(self, factors_B: Tensor) -> None:
        """Sets by what the gradient of each rollout is multiplied. Until then it is 0."""
        assert self._counted is not None  # or there was no beginning
        self._counted.weigh(factors_B)

    def end(self) -> tuple[list[int], Tensor]:
        """
        Removes the taps, which a backward pass with gradient checkpointing needs too.

        Returns:
            `list[int]` and `torch.Tensor`: the prompts that count, and the sum over the rollouts of each, weighed, as
            the store keeps it: `(P, M, D)` in float32.
        """
        self._remove_taps()
        assert self._store is not None  # or there was no beginning
        assert self._counted is not None
        store, self._store = self._store, None
        return self._counted.prompts, torch.cat(list(store.rows().values()), dim=2)

    def _hook_of(self, layer: Layer, store: Store, counted: "CountedRollouts") -> Callable:
        def sink(input_of_layer: Callable[[], Tensor], b: Tensor) -> None:
            if self.failure is not None:
                return
            with self.failures_noted():
                a = input_of_layer()
                check_has_rows(layer, counted.num_rollouts, counted.num_tokens, a)
                for part in counted.parts(*grouped(counted.num_rollouts, a, b)):
                    store.weigh(part.weights)
                    layer.rule(store, layer, part.prompts, part.a, part.b)

        def hook(_module: nn.Module, inputs: tuple, named_inputs: dict, output: Tensor) -> Tensor | None:
            if not (torch.is_grad_enabled() and output.requires_grad):
                return None
            return tap(output, input_of(inputs, named_inputs), sink)

        return hook

    def abandon(self) -> None:
        """Removes the taps of a step that failed."""
        self._remove_taps()
        if self._head is not None:
            self._head.forget()
        self._store = None

    def _remove_taps(self) -> None:
        while self._handles:
            self._handles.pop().remove()


def check_has_rows(layer: Layer, num_rows: int, num_tokens: int, a: Tensor) -> None:
    """Raises `ValueError` if a layer's input has neither a place for each row of the batch nor for each token."""
    if a.size(0) not in (num_rows, num_tokens):
        raise ValueError(f"the layer '{layer.name}' mixes the tokens of several prompts.")


class Part(NamedTuple):
    """Some tokens of a layer's rows: whose they are, the input, the gradient at the output, and the rows' weights."""

    prompts: list[int]
    a: Tensor
    b: Tensor
    weights: Weights | None


class CountedRollouts:
    """
    The rollouts of a micro-batch that count, those of one prompt beside one another, and their factors.

    Args:
        prompts, prompt_ids_BT, num_tokens:
            As for [`TrainingPass.begin`].
        shares_prompts (`bool`, *optional*, defaults to `True`):
            Whether to look for tokens that are the same in all rollouts of a prompt.

    Attributes:
        num_rollouts (`int`): of the whole micro-batch.
        num_tokens (`int`): of all of them, padding included.
        prompts (`list[int]`): the prompts that have some.
        places (`list[int]`): for each rollout that counts, the place of its prompt in `prompts`.
        rows_R (`Tensor`): their rows in the micro-batch.
        factors_R (`Tensor`): by what the gradient of each is multiplied, in float32.
        num_shared (`int`): so many tokens at the beginning are the same in all rollouts of a prompt; 0 where that
            saves little.
    """

    def __init__(self, prompts: list[int | None], prompt_ids_BT: Tensor, num_tokens: int, shares_prompts: bool = True):
        counted = sorted((prompt, row) for row, prompt in enumerate(prompts) if prompt is not None)
        device = prompt_ids_BT.device
        self.num_rollouts, self.num_tokens = len(prompts), num_tokens
        self.prompts = sorted({prompt for prompt, _ in counted})
        self.places = [self.prompts.index(prompt) for prompt, _ in counted]
        self.rows_R = torch.tensor([row for _, row in counted], device=device).long()
        self.factors_R = torch.zeros(len(counted), device=device)
        offsets = [self.places.index(place) for place in range(len(self.prompts))]
        self._offsets_P = torch.tensor(offsets, device=device).long()  # where the rollouts of each prompt begin
        self._firsts_P = self.rows_R[self._offsets_P]
        self._firsts_R = self._firsts_P[self.places]  # of the same prompt as each rollout
        saves_much = 2 * len(self.prompts) <= len(counted)
        is_shared = shares_prompts and saves_much and self._is_shared(prompt_ids_BT)
        self.num_shared = prompt_ids_BT.size(1) if is_shared else 0

    def weigh(self, factors_B: Tensor) -> None:
        self.factors_R = factors_B[self.rows_R]

    def parts(self, a: Tensor, b: Tensor) -> Iterator[Part]:
        """
        A layer's rows, in parts of different tokens.

        Args:
            a (`torch.Tensor`), b (`torch.Tensor`): input and gradient at the output, `(B, T, …)`.
        """
        S = self.num_shared
        # With dropout the inputs differ.
        if S > 0 and a.size(1) * self.num_rollouts == self.num_tokens and self._is_shared(a[:, :S]):
            of_prompts = b[:, :S].flatten(1).float()
            summed = nn.functional.embedding_bag(
                self.rows_R, of_prompts, self._offsets_P, mode="sum", per_sample_weights=self.factors_R
            )
            a_PT = a[:, :S].index_select(0, self._firsts_P)
            yield Part(list(range(len(self.prompts))), a_PT, summed.view(len(a_PT), S, -1), None)
            a, b = a[:, S:], b[:, S:]
        yield Part(self.places, a, b, (self.rows_R, self.factors_R))

    def _is_shared(self, values_B: Tensor) -> bool:
        """Whether values are the same in all rollouts of a prompt."""
        return torch.equal(values_B.index_select(0, self.rows_R), values_B.index_select(0, self._firsts_R))


def measurable_in_training(plan: Plan, left_out: set[str]) -> list[Layer]:
    """
    The layers that can be measured in a training pass, with those of their parameters that can. Left out is what
    autograd is asked for, and the experts.

    Args:
        plan ([`~passk_trl.gradients.plan.Plan`]):
            How each parameter is measured by a pass of the monitor's own.
        left_out (`set[str]`):
            Names of other parameters to leave out: of an LM head that is not measured, and so of the embedding that is
            tied to it. It is measured with both roles or with neither.
    """
    parameters = [
        {own: name for own, name in layer.parameters.items() if name not in left_out} for layer in plan.layers
    ]
    return [
        Layer(layer.name, layer.module, layer.rule, kept)
        for layer, kept in zip(plan.layers, parameters, strict=True)
        if kept
    ]


def trained_tokens(inputs: dict[str, Any]) -> Tensor:
    """
    Which tokens of the completions TRL trains on, `(B, T)`, 0 or 1: not padding, and not what a tool or an environment
    answered.

    Args:
        inputs (`dict`):
            What TRL computes a loss of, or a batch of it.
    """
    mask_BT = inputs["completion_mask"]
    return mask_BT * inputs["tool_mask"] if "tool_mask" in inputs else mask_BT


def factors(gradient_BT: Tensor, mask_BT: Tensor, weights_B: Tensor) -> tuple[Tensor, Tensor]:
    """
    The factors that turn the gradients of a training pass into those of the prompts.

    Args:
        gradient_BT (`torch.Tensor`):
            g, the gradient of the loss with respect to the log-probability of each token of the completions.
        mask_BT (`torch.Tensor`):
            Which tokens are trained on.
        weights_B (`torch.Tensor`):
            w, the weight of each rollout's score in its prompt's gradient.

    Returns:
        `(B,)` and `(B,)`: w/g in float32, and whether a rollout is missed: its w is not 0, but its g is, or g differs
        between its tokens. The factor of such a rollout is 0.
    """
    gradient_BT, trained_BT, weights_B = gradient_BT.float(), mask_BT.bool(), weights_B.float()
    low_B = gradient_BT.masked_fill(~trained_BT, torch.inf).amin(dim=1)
    high_B = gradient_BT.masked_fill(~trained_BT, -torch.inf).amax(dim=1)
    g_B = (low_B + high_B) / 2
    # Where no token is trained on, g is inf − inf, and not taken.
    taken_B = (high_B - low_B <= _TOLERANCE * g_B.abs()) & g_B.isfinite() & (g_B != 0)
    return torch.where(taken_B, weights_B / g_B, 0.0), (weights_B != 0) & ~taken_B
