"""Pass@k reinforcement learning for TRL, and the conflict between pass@k and pass@1 made visible."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from .config import PassKGRPOConfig
    from .monitor import ConflictMonitor
    from .trainer import PassKGRPOTrainer

    __version__: str

__all__ = ["ConflictMonitor", "PassKGRPOConfig", "PassKGRPOTrainer", "__version__"]

_MODULE_OF = {
    "ConflictMonitor": ".monitor",
    "PassKGRPOConfig": ".config",
    "PassKGRPOTrainer": ".trainer",
}


def __getattr__(name: str) -> Any:
    # Imported at first use: `import passk_trl.estimators` needs torch only and must not wait for TRL.
    if name == "__version__":
        return version("passk-trl")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        module = import_module(_MODULE_OF[name], __name__)
    except ImportError:
        from .private_names import look_up

        look_up("always")  # names what a library has moved, if that is the reason
        raise
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
