"""``python -m bert_export``: the command without its console script."""

from __future__ import annotations

from bert_export.cli import main

if __name__ == "__main__":
    main(prog_name="bert-export")
