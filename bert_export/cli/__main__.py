"""``python -m bert_export.cli``: the same as ``python -m bert_export``."""

from __future__ import annotations

from bert_export.cli import main

if __name__ == "__main__":
    main(prog_name="bert-export")
