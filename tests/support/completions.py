"""Completions for reward functions."""


def message(text: str) -> list[dict[str, str]]:
    """A conversational completion of one message."""
    return [{"role": "assistant", "content": text}]
