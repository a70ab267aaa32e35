"""A route of a family of clients: what it reads, whom it asks, what it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bert_export.errors import TooLargeError
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.serving.models import Model
from bert_export.serving.replies import ErrorBody

__all__ = ["ApiRoute"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiRoute:
    """One row of the table of routes.

    Args:
        path: Below the service's root, and below ``/models/NAME``.
        summary: One line for the OpenAPI document.
        body: The msgspec type that a request's JSON has.
        answer: A pipeline and that body to the answer; runs in a thread of the batcher.
        items: How many items a body holds.
        counted: The field that holds them.
        tasks: Names of the tasks that have the route; all when ``None``.
        error: How this family writes errors.
        model: The name of the bundle that a body asks for, where bodies name one.
        fits: What else a bundle must have.
    """

    path: str
    summary: str
    body: Any
    answer: Callable[[Pipeline[Any, Any, Any], Any], Any]
    items: Callable[[Any], int]
    counted: str = "inputs"
    tasks: frozenset[str] | None = None
    error: ErrorBody
    model: Callable[[Any], str | None] | None = None
    fits: Callable[[Model], bool] = lambda _: True

    def check_items(self, body: Any, most: int) -> None:
        """Refuse a request of too many items.

        Raises:
            TooLargeError: It has more than ``most``.
        """
        number = self.items(body)
        if number > most:
            raise TooLargeError(
                f"{self.counted} hold too many items", expected=f"at most {most}", got=number
            )

    def serves(self, model: Model) -> bool:
        """Whether a bundle has the route."""
        return (self.tasks is None or model.task.name in self.tasks) and self.fits(model)
