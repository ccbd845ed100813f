"""An audit measures the conflict of a checkpoint before training, on many prompts, and reports it."""

from .audit import Audit, AuditMeasurement
from .audit_report import AuditReport, diagnose
from .parameters import choose_parameters
from .writing import write_audit


__all__ = [
    "Audit",
    "AuditMeasurement",
    "AuditReport",
    "choose_parameters",
    "diagnose",
    "write_audit",
]
