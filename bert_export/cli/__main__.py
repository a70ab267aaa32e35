"""``python -m bert_export.cli``: the command without its console script."""

from __future__ import annotations

from bert_export.cli import main

main(prog_name="bert-export")
