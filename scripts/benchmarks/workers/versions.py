"""Tells versions of packages in the environment that it runs in; absent ones are left out."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["versions"]


def versions(request: dict[str, Any]) -> dict[str, str]:
    """Versions of the ``packages``."""
    present = {}
    for name in request["packages"]:
        try:
            present[name] = version(name)
        except PackageNotFoundError:
            continue
    return present
