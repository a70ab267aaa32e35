"""The error of a tokenizer that cannot be written as a graph."""

from __future__ import annotations

from bert_export.errors import TokenizerError

__all__ = ["refuse"]


def refuse(part: str, expected: str, got: str) -> TokenizerError:
    """A part of ``tokenizer.json`` has no exact form in a graph."""
    return TokenizerError(
        f"tokenizer.json's {part} cannot be put into a graph",
        expected=expected,
        got=got,
        fix="Export without --text-input and tokenize with bert_export.load",
    )
