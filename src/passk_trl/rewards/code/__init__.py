"""Programs: a completion is right if its program passes its unit tests."""

from .limits import CodeLimits
from .reward import CodeReward, code_reward


__all__ = ["CodeLimits", "CodeReward", "code_reward"]
