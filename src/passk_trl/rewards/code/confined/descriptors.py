"""The open files that a process keeps."""

import os


_CHANNEL, _RULES = 40, 41


def keep_only(channel: int, rules: int | None, keeps: int | None) -> tuple[int, int | None]:
    """
    Closes every descriptor but three: a channel, the rules of Landlock if there are any, and one of 0 to 2.

    Returns:
        `tuple[int, int | None]`: the new numbers of the channel and of the rules, which an `exec` would close.
    """
    os.dup2(channel, _CHANNEL)
    if rules is not None:
        os.dup2(rules, _RULES, inheritable=False)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in {0, 1, 2} - {keeps}:
        os.dup2(nowhere, number)
    os.closerange(3, _CHANNEL)
    os.closerange(_CHANNEL + 1 if rules is None else _RULES + 1, os.sysconf("SC_OPEN_MAX"))
    return _CHANNEL, None if rules is None else _RULES
