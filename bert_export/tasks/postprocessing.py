"""A task's parameters with every default, as the manifest keeps them for readers in any language.

The manifest's ``postprocessing`` is one of these structs as JSON, each field written out. A bundle
of an older version names fewer of them; those that it does not name have their defaults here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, TypeAlias

import msgspec

from bert_export.errors import BundleError
from bert_export.tasks.checkpoint_facts import CheckpointFacts

__all__ = ["Count", "Positive", "PostProcessing", "TextPostProcessing", "Truncation"]

Truncation: TypeAlias = Literal["longest_first", "only_first", "only_second", "none"]
"""Which text of a pair gives way when both do not fit; ``none``: too long is an error."""

Positive: TypeAlias = Annotated[int, msgspec.Meta(ge=1)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class PostProcessing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tasks' parameters: what a call does where it does not say otherwise."""

    @classmethod
    def from_checkpoint(cls, facts: CheckpointFacts) -> Self:
        """The parameters of a checkpoint: the defaults, and what its files say."""
        del facts
        return cls()

    @classmethod
    def from_manifest(cls, given: Mapping[str, Any]) -> Self:
        """Read the manifest's ``postprocessing``.

        Raises:
            BundleError: A field is unknown or of another type.
        """
        try:
            return msgspec.convert(dict(given), cls)
        except msgspec.ValidationError as error:
            raise BundleError(
                "bundle has malformed postprocessing",
                expected=f"the fields of {cls.__name__}",
                got=error,
                fix="Export the bundle again",
            ) from error

    def to_manifest(self) -> dict[str, Any]:
        """Every field by name, as JSON holds it."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields


class TextPostProcessing(PostProcessing, frozen=True, kw_only=True):
    """Parameters of tasks whose calls say how texts are cut.

    Args:
        truncation: Which text of a pair gives way.
        max_length: Tokens that a row keeps; ``null`` for the tokenizer's own limit.
        add_special_tokens: Whether rows get ``[CLS]`` and ``[SEP]``.
    """

    truncation: Truncation = "none"
    max_length: Positive | None = None
    add_special_tokens: bool = True
