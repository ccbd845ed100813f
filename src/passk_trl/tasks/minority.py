"""How often the less frequent of two readings of a question is the right one."""


def minority_odds(lean: int, minority_share: float, cue: float) -> float:
    """
    The probability that a question has the minority's answer.

    Args:
        lean (`int`):
            -1 if the wording leans towards the majority's reading, +1 towards the minority's, 0 to neither.
        minority_share (`float`):
            Share of the questions that have the minority's answer.
        cue (`float`):
            How much the lean shifts the odds.

    Returns:
        `float`: `minority_share * (1 + cue * lean)`.
    """
    return minority_share * (1 + cue * lean)


def check_minority(minority_share: float, cue: float) -> None:
    """Raises `ValueError` if the two do not give probabilities, whatever the lean."""
    if not 0 <= minority_share * (1 - abs(cue)) <= minority_share * (1 + abs(cue)) <= 1:
        raise ValueError(
            f"minority_share {minority_share} and cue {cue} give a share outside 0 to 1: set minority_share between 0 "
            "and 1 and cue between -1 and 1 such that minority_share * (1 + cue) is at most 1."
        )
