"""Questions to be answered with yes or no that a small language model can read but not answer.

    Is 84 divisible by 7? yes
    Is 58 divisible by 9? no
    Is 76 divisible by 6?

Such a policy says "no" more often than "yes", to all questions alike. More of one is less of the other. For pass@1 it
should always say what is mostly right. For pass@k it should say both, as one of k answers is then right: the prompts
interfere. Prompts are plain text, and the answer is the first line of the completion.
"""

import random

from datasets import Dataset, DatasetDict

from .questions import Question, splits_of, unique_questions
from .splits import part_of


_DIVISORS = (3, 4, 6, 7, 8, 9)
_ASKED = [(number, divisor) for number in range(10, 100) for divisor in _DIVISORS]
_OF_ANSWER = {
    "yes": [(number, divisor) for number, divisor in _ASKED if number % divisor == 0],
    "no": [(number, divisor) for number, divisor in _ASKED if number % divisor],
}


def divisibility(num_prompts: int, seed: int = 0, split: str = "train", yes_share: float = 0.3) -> Dataset:
    """
    Whether a number of two digits is divisible by one digit, after an example of each answer.

    Args:
        num_prompts (`int`):
            Number of prompts, all different.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the prompts. It does not affect which split a question is in.
        split (`str`, *optional*, defaults to `"train"`):
            One of `"train"`, `"probe"` and `"test"`, which ask different questions, whatever the seeds. The
            examples are from all of them.
        yes_share (`float`, *optional*, defaults to `0.3`):
            Share of the prompts whose answer is yes.

    Returns:
        [`~datasets.Dataset`]: Columns `prompt` (text), `solution` and `kind` (both `"yes"` or `"no"`).

    Raises:
        ValueError: If `split` is unknown, `num_prompts` is below 1, or `yes_share` is no probability.
    """
    if not 0 <= yes_share <= 1:
        raise ValueError(f"yes_share is {yes_share}: set it between 0 and 1.")
    asked = {answer: part_of(questions, split) for answer, questions in _OF_ANSWER.items()}

    def draw(rng: random.Random) -> Question:
        answer = "yes" if rng.random() < yes_share else "no"
        question = rng.choice(asked[answer])
        examples = [
            f"{_question(*rng.choice([each for each in shown if each != question]))} {example}"
            for example, shown in _OF_ANSWER.items()
        ]
        rng.shuffle(examples)
        return "\n".join([*examples, _question(*question)]), answer, answer

    return unique_questions(f"divisibility {split} {seed}", num_prompts, draw)


def divisibility_splits() -> DatasetDict:
    """[`divisibility`] as `train` (2,000 prompts), `probe` (1,024) and `test` (512), for a recipe to name."""
    return splits_of(divisibility)


def _question(number: int, divisor: int) -> str:
    return f"Is {number} divisible by {divisor}?"
