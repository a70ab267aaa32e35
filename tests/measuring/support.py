"""What tests of measuring share."""

from __future__ import annotations

__all__ = ["Silent"]


class Silent:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.saves = 0

    def begin(self, what: str, *, done: int, total: int) -> None:
        assert 0 <= done < total
        self.steps.append(what)

    def measured(self) -> None:
        self.saves += 1
