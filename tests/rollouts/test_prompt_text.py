"""The text of a prompt, to show and to compare."""

from passk_trl.rollouts.prompt_text import comparable_text, cut, text_of


def chat(text: str, system: str | None = None) -> list[dict]:
    return [{"role": "system", "content": system}] * (system is not None) + [{"role": "user", "content": text}]


def test_prompts_are_compared_by_what_they_say():
    assert comparable_text("What is\n 2 + 2?") == comparable_text(chat("what is 2 + 2?", system="Think."))
    assert comparable_text("What is 2 + 2?") != comparable_text("What is 2 + 3?")


def test_a_prompt_is_shown_as_text():
    assert text_of("plain") == "plain"
    assert text_of([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+2?"}]) == (
        "Be brief.\n\n2+2?"
    )
    assert text_of([{"role": "assistant", "tool_calls": []}]) == "None"
    assert cut("abcdef", 3) == "abc…"
    assert cut("abc", 3) == "abc"
