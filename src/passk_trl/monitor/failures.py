"""Failures of the monitor, which do not end training: each is logged once."""

import logging

from passk_trl.rollout_trainer import RolloutTrainer


logger = logging.getLogger(__name__)


class Failures:
    """The failures that were logged, each a kind of error with what it cost."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str]] = set()

    def log(self, trainer: RolloutTrainer, error: Exception, message: str, step: int) -> None:
        """Logs a failure with its traceback on the main process, the first time that it occurs."""
        failure = (type(error).__name__, message)
        if failure not in self._seen and trainer.accelerator.is_main_process:
            logger.error(message, step, exc_info=error)
        self._seen.add(failure)
