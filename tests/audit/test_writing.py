"""An audit's report on disk: one file for a program, one for a reader, and the figures that this one shows."""

import json

from audits import audit_report
from passk_trl.audit import write_audit
from passk_trl.interference import verdict


def test_the_files_and_what_is_printed(tmp_path):
    report = audit_report()
    printed = write_audit(tmp_path, report, num_shown=3)
    assert printed == f"{verdict(report.unbiased)}\nreport: {tmp_path / 'report.md'}"
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == verdict(report.unbiased)
    text = (tmp_path / "report.md").read_text()
    for figure in ("success.png", "weights.png", "curve.png"):
        assert f"({figure})" in text
        assert (tmp_path / figure).read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 5
