"""Multiple choice: an answer is right if it gives the letter of the right choice, wherever it stands, or its text."""

import re
import string
from collections.abc import Sequence
from typing import Any

from .completions import Completion
from .final_answer import final_answer
from .plain_text import plain_signs
from .short_answer import normalized


MOST_CHOICES = 10
"""Choices that have a letter where `choices` are not given: A to J."""

_LONE = re.compile(r"(?:(?:option|choice|letter)\s{1,3})?[(\[]?([a-z])[)\].:]{0,2}", re.IGNORECASE)
_LEADING = re.compile(
    r"(?:(?:option|choice|letter)\s{1,3})?"
    r"[(\[]?([a-z])(?:[)\]][.:]?|[.:](?=\s|$)|\s{0,3}(?:-{1,2}|\u2192)\s)\s{0,3}(.*)",
    re.IGNORECASE | re.DOTALL,
)
_WITHIN = re.compile(r"(?<![\w'&/.-])([A-Z])(?![\w'&+#]|[./-]\w)|(?<=[(\[])([a-z])(?=[)\]])")
# After "A" or "I" and one of these, it is a letter and no word of the sentence.
_GOES_ON = re.compile(r"[^\S\n]*+(?:$|\n|[^\w\s]|[A-Z]\b|(?:because|since|as|is|are|for|and|or|but|not)\b)")
_CALLED_LETTER = re.compile(r"(?:option|choice|letter|[(\[])\s*$", re.IGNORECASE)
_CALLED = r"(?:(?:option|choice|letter)\s)?[(\[]?"
_DENIED = re.compile(rf"\b(?:not|isnt|neither|nor)\s{_CALLED}(?:[A-Z][)\]]?\sor\s{_CALLED})?$", re.IGNORECASE)
# Signs that a number or a formula has, and without which it is another one.
_SIGN = re.compile(r"[+/=<>^%]|[-.](?=\s?\.?\d)|(?<=\s)-(?=\s)")
_DECORATION = str.maketrans("", "", "*`_$\"'")


def multiple_choice_reward(
    completions: list[Completion], solution: list[Any], choices: list[Any] | None = None, **kwargs: Any
) -> list[float | None]:
    r"""
    1 for a completion that answers with the right choice, 0 for any other.

    The answer is the content of the last `\boxed{}`; without a box, the rest of the line after the last "answer is" or
    "Answer:"; without either, the whole text. Where there is an `<answer>…</answer>`, what is in it is the text. The
    answer is right if it gives the letter of the right choice: alone (`B`, `b)`, `(B)`, `**B**`), before its text
    (`B) Paris`), or as the only capital letter that stands alone in a sentence ("I think it is B, since …"). "A" and
    "I" within a sentence are words, unless they stand in brackets, before a punctuation mark or a word such as
    "because", or after "option", "choice" or "letter". With `choices`, the text of a choice alone is an answer too,
    compared as by [`short_answer_reward`], but with the signs of formulas.

    Two different letters, or a letter before the text of another choice, are a wrong answer. A letter after "not" does
    not count.

    Args:
        completions (`list[str]` or `list[list[dict]]`):
            Plain or conversational completions. Of a conversation, the policy's last message is judged.
        solution (`list[str]` or `list[int]`):
            The right choice of each completion: its letter, its text, or its index in `choices`, from 0 on.
        choices (`list[list[str]]`, *optional*):
            The texts of the choices, in the order of their letters, or a dictionary that has them as `"text"`, as in
            ARC. `solution` needs them if it is an index or a text.
        **kwargs:
            Other arguments that TRL passes to a reward function. Not used.

    Returns:
        `list[float | None]`: One reward per completion. It is `None` where `solution` names no choice.

    Raises:
        `ValueError`: If `solution` is of another kind, or an index without `choices` or outside them.

    Example:
        ```python
        >>> multiple_choice_reward(["The answer is (B).", "A or B", "Paris"], ["B", "B", 1], [["Rome", "Paris"]] * 3)
        [1.0, 0.0, 1.0]
        ```
    """
    texts = [_texts(each) for each in choices] if choices is not None else [[]] * len(completions)
    return [
        _match(completion, gold, each) for completion, gold, each in zip(completions, solution, texts, strict=True)
    ]


def chosen_letter(text: str, texts: Sequence[str] = ()) -> str | None:
    """The one letter that an answer gives, in upper case; `None` if it gives none or several."""
    text = plain_signs(text).translate(_DECORATION).strip().rstrip(",;!")
    letters = string.ascii_uppercase[: len(texts) or MOST_CHOICES]
    if (alone := _LONE.fullmatch(text)) and alone[1].upper() in letters:
        return alone[1].upper()
    given = _letters_within(text)
    if (leading := _LEADING.fullmatch(text)) and leading[1].upper() in letters:
        letter, same = leading[1].upper(), _letter_of(leading[2], texts)
        if letter == same:  # whatever letters its text has
            return letter
        given |= {letter, *filter(None, [same])}
    elif same := _letter_of(text, texts):
        return same
    given &= set(letters)
    return given.pop() if len(given) == 1 else None


def _letters_within(text: str) -> set[str]:
    found = set()
    for match in _WITHIN.finditer(text):
        letter = (match[1] or match[2]).upper()
        before = text[max(0, match.start() - 32) : match.start()]
        if _DENIED.search(before):
            continue
        if letter not in "AI" or _GOES_ON.match(text, match.end()) or _CALLED_LETTER.search(before):
            found.add(letter)
    return found


def _letter_of(text: str, texts: Sequence[str]) -> str | None:
    """The letter of the choice with this text."""
    answer = _compared(text)
    same = [place for place, choice in enumerate(texts) if _compared(choice) == answer != ""]
    return string.ascii_uppercase[same[0]] if len(same) == 1 else None


def _compared(text: str) -> str:
    """A text in its normal form, in which signs of numbers and formulas are words."""
    return normalized(_SIGN.sub(lambda sign: f" sign{ord(sign[0])} ", plain_signs(text)))


def _match(completion: Completion, gold: Any, texts: list[str]) -> float | None:
    right = _right_letter(gold, texts)
    return None if right is None else float(chosen_letter(final_answer(completion).text, texts) == right)


def _right_letter(gold: Any, texts: list[str]) -> str | None:
    if gold is None:
        return None
    if isinstance(gold, str):
        return chosen_letter(final_answer(gold).text, texts)
    if not isinstance(gold, int) or isinstance(gold, bool):
        raise ValueError(
            f"solution is {str(gold)[:80]!r} of type {type(gold).__name__}: set it to the letter, the text or the "
            "index of a choice."
        )
    if not texts:
        raise ValueError(
            f"solution is the index {gold}, but there are no choices: add a column choices with the texts of the "
            "choices, or set solution to a letter."
        )
    if not 0 <= gold < len(texts):
        raise ValueError(
            f"solution is the index {gold}, but there are {len(texts)} choices: set it between 0 and {len(texts) - 1}."
        )
    return string.ascii_uppercase[gold]


def _texts(choices: Any) -> list[str]:
    texts = choices.get("text") if isinstance(choices, dict) else choices
    if not isinstance(texts, list | tuple) or not 1 < len(texts) <= len(string.ascii_uppercase):
        raise ValueError(
            f"choices is {str(choices)[:80]!r}: set it to a list of 2 to 26 texts, or to {{'text': […]}}."
        )
    return [str(text) for text in texts]
