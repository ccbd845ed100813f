"""Failures of the monitor, which do not end training: each kind is logged once."""

import logging

from passk_trl.rollout_trainer import RolloutTrainer


logger = logging.getLogger(__name__)


class Failures:
    """The kinds of failure that were logged."""

    def __init__(self) -> None:
        self._kinds: set[str] = set()

    def log(self, trainer: RolloutTrainer, error: Exception, message: str, step: int) -> None:
        """Logs a failure with its traceback on the main process, the first time that one of its kind occurs."""
        if type(error).__name__ not in self._kinds and trainer.accelerator.is_main_process:
            logger.error(message, step, exc_info=error)
        self._kinds.add(type(error).__name__)
