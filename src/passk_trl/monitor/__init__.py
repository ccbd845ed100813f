"""The conflict between pass@k and pass@1, measured while a policy trains."""

from .callback import ConflictMonitor


__all__ = ["ConflictMonitor"]
