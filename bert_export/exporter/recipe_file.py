"""A recipe: an export's request as a TOML file that people read, keep and repeat.

The keys are the fields of :class:`bert_export.bundle.ExportRequest`; what a recipe leaves out has
its default. The options of INT8 stand under ``[quantization]``, those of engines under
``[engines]``::

    task = "token-classification"
    model = "demo:wnut17"
    precision = "int8"
    targets = ["onnxruntime", "openvino"]

    [quantization]
    observer = "percentile"
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle import ExportRequest
from bert_export.errors import InputError, one_line, one_of, shown
from bert_export.regular_files import read_regular

__all__ = ["read_recipe", "recipe_text"]

_LARGEST = 1_000_000  # bytes; a recipe has a few hundred
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)


def read_recipe(path: str | Path) -> ExportRequest:
    """Read the request that a recipe states.

    Args:
        path: A TOML file.

    Returns:
        The request, whose values are not checked yet; see
        :func:`bert_export.exporter.check_request`.

    Raises:
        InputError: The file is missing or no TOML, or a key is unknown or of another type.
    """
    path = Path(path)
    try:
        recipe = tomllib.loads(read_regular(path, most=_LARGEST).decode())
    except OSError as error:
        raise InputError(
            f"recipe {path} cannot be read", expected="a TOML file", got=error.strerror
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML
        raise InputError(
            f"recipe {path} is malformed", expected="TOML", got=one_line(error)
        ) from error
    _check_keys(path, recipe, ExportRequest)
    try:
        return msgspec.convert(recipe, ExportRequest)
    except msgspec.ValidationError as error:
        raise InputError(
            f"recipe {path} has a value of the wrong type",
            expected="the types that bert-export inspect BUNDLE --recipe writes",
            got=one_line(error),
        ) from error


def recipe_text(request: ExportRequest) -> str:
    """A request as TOML: what differs from the defaults, and the task, model and precision."""
    stated = _stated(request)
    always = {name: getattr(request, name) for name in ("task", "model", "precision", "targets")}
    values = {name: value for name, value in always.items() if value not in {None, ()}} | stated
    return "".join(_toml(msgspec.to_builtins(values)))


def _stated(struct: msgspec.Struct) -> dict[str, Any]:
    """The fields that differ from their defaults; those of structs inside are treated alike."""
    stated = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        if isinstance(value, msgspec.Struct):
            stated[field.name] = _stated(value)
        elif value is not None and value != _default(field):
            stated[field.name] = value
    return stated


def _default(field: msgspec.structs.FieldInfo) -> Any:
    factory = field.default_factory
    return field.default if factory is msgspec.NODEFAULT else factory()


def _check_keys(path: Path, table: Mapping[str, Any], kind: Any, where: str = "") -> None:
    """Refuse a key that no field is called, with the one that was meant."""
    fields = {field.name: field for field in msgspec.structs.fields(kind)}
    for name, value in table.items():
        if name not in fields:
            raise InputError(
                f"recipe {path} has the unknown key {shown(where + name)}",
                **one_of(name, fields),
            )
        inner = next(
            (one for one in _types(fields[name].type) if _is_struct(one)),
            None,
        )
        if inner is not None and isinstance(value, Mapping):
            _check_keys(path, value, inner, f"{name}.")


def _types(annotation: Any) -> Sequence[Any]:
    """The members of a union, or what is none."""
    return getattr(annotation, "__args__", None) or (annotation,)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _toml(table: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[str]:
    """The lines of a table, then those of the tables in it."""
    inner = {name: value for name, value in table.items() if isinstance(value, Mapping)}
    if path:
        yield f"\n[{'.'.join(map(_key, path))}]\n"
    for name, value in table.items():
        if name not in inner:
            yield f"{_key(name)} = {_value(value)}\n"
    for name, value in inner.items():
        yield from _toml(value, (*path, name))


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _value(name)


def _value(value: Any) -> str:
    """A string, boolean, number or array of these."""
    if isinstance(value, str):  # a JSON string is one of TOML's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    return f"[{', '.join(map(_value, value))}]"
