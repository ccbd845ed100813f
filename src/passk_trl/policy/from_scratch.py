r"""A small Qwen2 policy, trained from scratch in about a minute on one CPU core: the start of the quickstart.

It learns from demonstrations of `ambiguous_arithmetic` that name a rule and then apply it, as in `Sum \boxed{80}`.
More subtractions than additions are demonstrated wrongly. So the policy names each rule about as often as it applies,
and adds better than it subtracts: an imperfect start, from which pass@1 and pass@k training go different ways.
Everything is made here, the tokenizer included; nothing is downloaded.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import transformers
from datasets import Dataset
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, get_wsd_schedule

from passk_trl.files import whole_folder
from passk_trl.tasks import arithmetic as tasks
from passk_trl.tasks import minority, splits

from .cache import cache_folder


END_OF_TURN, PAD, START_OF_TURN = "<|im_end|>", "<|endoftext|>", "<|im_start|>"

CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}"
    "{%- else %}{{- message['content'] + '<|im_end|>' }}{%- endif %}"
    "{{- '\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{%- endif %}"
)

# So narrow a model learns to carry digits in seconds only with a wider initialisation than the usual 0.02.
MODEL = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "tie_word_embeddings": True,
    "initializer_range": 0.1,
}
QUESTIONS, BATCH_SIZE = 3200, 64  # questions per epoch
MATRIX_LEARNING_RATE, LEARNING_RATE = 1e-2, 4e-3  # of Muon for the layers' matrices, of AdamW for the rest

# How often a demonstration of each rule is wrong by ten, as if a carry or a borrow were forgotten. More slips in the
# sum move the onset of the conflict to a larger k, since the prompts then share something to learn. Fewer move it to
# a smaller k.
SLIPS = {"sum": 0.04, "difference": 0.5}


@dataclass(frozen=True)
class Demonstrations:
    """
    The demonstrations that a start policy is trained on.

    Attributes:
        name (`str`): name of the task, and of the folder in the cache.
        questions (`Callable`): from a number and a seed to rows, with the rule that each demonstration follows.
        slips (`dict[str, float]`): by rule, how often a demonstration is wrong by ten.
        unboxed (`dict[str, float]`, *optional*): by rule, how often a demonstration lacks the box that the verifier
            reads.
        epochs (`int`): how many times 3,200 questions are drawn and shown.
    """

    name: str
    questions: Callable[[int, int], Dataset]
    slips: dict[str, float]
    unboxed: dict[str, float] | None = None
    epochs: int = 11


AMBIGUOUS = Demonstrations("ambiguous-arithmetic", tasks.ambiguous_arithmetic, SLIPS)
"""Of the quickstart."""

PLAIN = Demonstrations("plain-arithmetic", tasks.plain_arithmetic, SLIPS)
"""The wording says which rule applies."""

UNBOXED = Demonstrations(
    "ambiguous-unboxed",
    tasks.ambiguous_arithmetic,
    slips={"sum": 0.0, "difference": 0.0},
    unboxed={"sum": 0.1, "difference": 0.6},
    epochs=30,
)
"""Most errors are of form, and training soon corrects them."""

ONE_STRATEGY = Demonstrations(
    "many-strategies",
    partial(tasks.many_strategies, shares={"sum": 0.7, "difference": 0.1, "first": 0.1, "second": 0.1}),
    {"sum": 0.3, "difference": 0.5, "first": 0.2, "second": 0.2},
)
"""The policy knows one strategy well and has seen the others."""


def build_tokenizer() -> PreTrainedTokenizerFast:
    r"""
    Byte-level BPE with one token per digit, whole words for the task's vocabulary, `\boxed{` as one token, and a
    ChatML template with generation markers. The pad token differs from the one that ends the turn.

    Returns:
        [`~transformers.PreTrainedTokenizerFast`]: The tokenizer; it encodes any text without unknown tokens.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,  # an upper bound; merging stops once every word is one token
        special_tokens=[PAD, START_OF_TURN, END_OF_TURN],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [*tasks.WORDINGS, *(rule.capitalize() for rule in tasks.RULES), "user", "assistant"], trainer
    )
    tokenizer.add_tokens([AddedToken(r"\boxed{", normalized=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=PAD,
        additional_special_tokens=[START_OF_TURN],
        chat_template=CHAT_TEMPLATE,
    )


def demonstration(row: dict, slip: bool = False, boxed: bool = True) -> str:
    r"""
    The demonstrated completion for a row of `ambiguous_arithmetic`: the rule, then the boxed answer.

    Args:
        row (`dict`):
            Row with `rule` and `answer`.
        slip (`bool`, *optional*, defaults to `False`):
            Whether to be wrong by ten.
        boxed (`bool`, *optional*, defaults to `True`):
            Whether the answer is in a box.

    Returns:
        `str`: Such as `"Difference \boxed{34}"`, without the token that ends the turn.
    """
    forgotten = (-10 if row["rule"] == "sum" else 10) if slip else 0
    answer = str(row["answer"] + forgotten)
    return f"{row['rule'].capitalize()} " + (rf"\boxed{{{answer}}}" if boxed else answer)


def build_policy(
    path: str | os.PathLike, seed: int = 0, progress: bool = True, shown: Demonstrations = AMBIGUOUS
) -> Path:
    """
    Train the policy from scratch and save model, tokenizer and generation config, ready for `from_pretrained`.

    The same seed, library versions and kind of processor give the same weights. The caller's random state and number
    of threads are not changed.

    Args:
        path (`str` or `os.PathLike`):
            Folder to write. It must not exist yet and appears only when the policy is complete.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the initial weights and of the corpus.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar.
        shown ([`Demonstrations`], *optional*):
            The demonstrations to train on; by default those of `ambiguous_arithmetic`.

    Returns:
        `Path`: `path`.

    Raises:
        FileExistsError: If `path` exists.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(f"{path} exists already; set path to a folder that does not, or remove it first.")
    tokenizer = build_tokenizer()
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        config = Qwen2Config(
            **MODEL,
            vocab_size=len(tokenizer),
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=None,  # a padding row in the embedding would get no gradient, unlike in real Qwen models
        )
        model = Qwen2ForCausalLM(config)
        _train(model, _corpus(tokenizer, seed, shown), progress)
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    with whole_folder(path) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return path


def cached_policy(
    seed: int = 0,
    cache_dir: str | os.PathLike | None = None,
    progress: bool = True,
    shown: Demonstrations = AMBIGUOUS,
) -> Path:
    """
    Path of the policy, which is built on first use. The folder's name has a hash of the code, the seed, the
    demonstrations and the library versions, so that a stale policy is never used.

    Args:
        seed (`int`, *optional*, defaults to `0`):
            Seed of the policy, as in [`build_policy`].
        cache_dir (`str` or `os.PathLike`, *optional*):
            Folder of the cache. Defaults to `$XDG_CACHE_HOME/passk-trl`, else `~/.cache/passk-trl`.
        progress (`bool`, *optional*, defaults to `True`):
            Whether to show a progress bar while building.
        shown ([`Demonstrations`], *optional*):
            As in [`build_policy`].

    Returns:
        `Path`: Folder to pass to `from_pretrained` or as a trainer's `model`.
    """
    path = cache_folder(cache_dir) / f"{shown.name}-{_fingerprint(seed, shown)}"
    return path if path.is_dir() else build_policy(path, seed, progress, shown)


@contextmanager
def _one_thread() -> Iterator[None]:
    # One thread makes results reproducible. It is also safe where other processes are busy: two threads would wait for
    # each other at each of these small products, and take fifteen times as long.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _fingerprint(seed: int, shown: Demonstrations) -> str:
    files = (__file__, tasks.__file__, minority.__file__, splits.__file__)
    sources = b"".join(Path(file).read_bytes() for file in files)
    settings = f"{seed} {shown.slips} {shown.unboxed} {shown.epochs} {torch.__version__} {transformers.__version__}"
    return hashlib.sha256(sources + settings.encode()).hexdigest()[:12]


def _corpus(tokenizer: PreTrainedTokenizerFast, seed: int, shown: Demonstrations) -> list[tuple[list[int], list[int]]]:
    rng = random.Random(f"policy {seed}")
    # Each epoch draws the rule behind each question again, so the policy learns the odds and not the rule.
    rows = [row for _ in range(shown.epochs) for row in shown.questions(QUESTIONS, rng.getrandbits(32))]
    prompts = tokenizer.apply_chat_template(
        [row["prompt"] for row in rows], add_generation_prompt=True, tokenize=False
    )
    completions = [_demonstrated(row, shown, rng) + tokenizer.eos_token for row in rows]
    return list(zip(tokenizer(prompts)["input_ids"], tokenizer(completions)["input_ids"], strict=True))


def _demonstrated(row: dict, shown: Demonstrations, rng: random.Random) -> str:
    slip = rng.random() < shown.slips[row["rule"]]
    return demonstration(row, slip, boxed=shown.unboxed is None or rng.random() >= shown.unboxed[row["rule"]])


def _train(model: Qwen2ForCausalLM, corpus: list[tuple[list[int], list[int]]], progress: bool) -> None:
    batches = [corpus[i : i + BATCH_SIZE] for i in range(0, len(corpus), BATCH_SIZE)]
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [  # with AdamW alone, the policy would not learn to add in so few steps
        torch.optim.Muon(matrices, lr=MATRIX_LEARNING_RATE),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        get_wsd_schedule(
            optimizer, len(batches) // 20, len(batches) // 2, num_training_steps=len(batches), decay_type="linear"
        )
        for optimizer in optimizers
    ]
    model.train()
    for batch in tqdm(batches, desc="Training the start policy", unit="step", disable=not progress):
        tokens = [torch.tensor(prompt + completion) for prompt, completion in batch]
        labels = [torch.tensor([-100] * len(prompt) + completion) for prompt, completion in batch]
        logits = model(input_ids=pad_sequence(tokens, batch_first=True)).logits[:, :-1]
        loss = cross_entropy(logits.transpose(1, 2), pad_sequence(labels, True, -100)[:, 1:])
        model.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for step in (*optimizers, *schedules):
            step.step()
    model.eval()
