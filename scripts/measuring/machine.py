"""What a figure depends on besides the code, as the package's own reports state it."""

from __future__ import annotations

from bert_export.measuring.machine import describe_machine, installed_versions

__all__ = ["describe_machine", "installed_versions"]
