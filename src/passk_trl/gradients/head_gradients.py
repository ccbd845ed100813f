"""The LM head's own gradient: from the states before it and the tokens after it, block by block."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from .causal_lm import CausalLM, Head
from .store import Store


# So many numbers of logits are formed at a time: 4 MB in float32, of which a few copies exist at once. There are at
# least 128 tokens among them, because fewer do not fill a GPU.
_LOGITS_AT_A_TIME = 2**20
_FEWEST_TOKENS_AT_A_TIME = 128

Block = tuple[slice, slice]


def output_gradients(head: Head, hidden: Tensor, targets: Tensor, weights: Tensor) -> Iterator[tuple[Block, Tensor]]:
    """
    The gradient of Σ weights · log π(targets) at the head's output, in blocks of rows and tokens.

    Args:
        head ([`~passk_trl.gradients.causal_lm.Head`]):
            The head.
        hidden (`torch.Tensor`), targets (`torch.Tensor`), weights (`torch.Tensor`):
            The states before the head, `(B, K, H)`, the tokens that follow them and the weights of these, `(B, K)`.
    """
    for block in _blocks(weights.size(0), weights.size(1), head.weight.size(0)):
        yield block, head.output_gradient(hidden[block], targets[block], weights[block])


def add_of_head(store: Store, names: dict[str, str], prompts: list[int], b: Tensor, h: Tensor) -> None:
    """
    Adds what the gradient b at the head's output gives.

    Args:
        store ([`~passk_trl.gradients.store.Store`]):
            To which it is added.
        names (`dict[str, str]`):
            Own parameter name of the head → name in the store.
        prompts (`list[int]`):
            Whose the rows are.
        b (`torch.Tensor`), h (`torch.Tensor`):
            `(B, K, V)` and `(B, K, H)`.
    """
    for own, name in names.items():
        if own == "weight":
            store.add_outer(name, prompts, b, h)
        else:
            store.add_vector(name, prompts, b.sum(dim=1))


class HeadOfTraining:
    """
    The LM head of a training pass. TRL evaluates it in a function of its own, so no tap on the module sees it.

    Args:
        causal_lm ([`~passk_trl.gradients.causal_lm.CausalLM`]):
            The model, whose head is known.
        names (`dict[str, str]`):
            Own parameter name of the head → name in the store.
    """

    def __init__(self, causal_lm: CausalLM, names: dict[str, str]):
        self._causal_lm = causal_lm
        self.names = names
        self._outputs: list[Any] = []

    def watch(self) -> Any:
        """From here on the states before the head are kept. Returns a handle whose `remove()` ends that."""
        self.forget()

        def keep(_module: Any, _inputs: tuple, output: Any) -> None:
            self._outputs.append(output)

        return self._causal_lm.backbone.register_forward_hook(keep)

    def forget(self) -> None:
        """Drops the states of a pass that did not come to its end."""
        self._outputs = []

    def meet(self) -> None:
        """Takes the place of [`add`] on a rank that has nothing to add."""
        self.forget()
        with self._causal_lm.head():
            pass

    def add(self, store: Store, prompts: list[int], rows_R: Tensor, targets_BT: Tensor, weights_BT: Tensor) -> None:
        """
        Adds the head's gradient of Σ weights · log π(targets) in the forward pass just taken. All ranks call this
        together, before an engine may step.

        Args:
            store ([`~passk_trl.gradients.store.Store`]):
                To which it is added.
            prompts (`list[int]`), rows_R (`torch.Tensor`):
                The rows that count, and whose they are.
            targets_BT (`torch.Tensor`), weights_BT (`torch.Tensor`):
                The last tokens of all rows, and their weights.
        """
        outputs, self._outputs = self._outputs, []  # which hold the graph
        with self._causal_lm.head() as head:
            if not prompts:
                return
            (output,) = outputs
            h_BTH = output.last_hidden_state.detach()[:, -targets_BT.size(1) - 1 : -1]
            h_RTH = h_BTH.index_select(0, rows_R)
            targets_RT, weights_RT = targets_BT.index_select(0, rows_R), weights_BT.index_select(0, rows_R)
            for block, b in output_gradients(head, h_RTH, targets_RT, weights_RT):
                add_of_head(store, self.names, prompts[block[0]], b, h_RTH[block])


def _blocks(num_rows: int, num_tokens: int, vocabulary: int) -> Iterator[Block]:
    """Blocks of (rows, tokens) whose logits stay within the limit: several rows each, or parts of one."""
    allowed = max(_FEWEST_TOKENS_AT_A_TIME, _LOGITS_AT_A_TIME // vocabulary)
    tokens, rows = min(num_tokens, allowed), max(1, allowed // num_tokens)
    for first in range(0, num_rows, rows):
        for start in range(0, num_tokens, tokens):
            yield slice(first, first + rows), slice(start, start + tokens)
