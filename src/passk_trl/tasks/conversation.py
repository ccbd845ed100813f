"""Prompts that begin with answered questions, which show a small chat model how brief an answer is."""

from collections.abc import Iterable


def after_examples(examples: Iterable[tuple[str, str]], question: str) -> list[dict[str, str]]:
    """A conversation: each example's question and answer, and then the question."""
    turns = [
        {"role": role, "content": content}
        for example in examples
        for role, content in zip(("user", "assistant"), example, strict=True)
    ]
    return [*turns, {"role": "user", "content": question}]
