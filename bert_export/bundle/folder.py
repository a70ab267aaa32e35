"""Writing a bundle's folder whole or not at all."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from bert_export.bundle.integrity import MALFORMED, MANIFEST
from bert_export.errors import BundleError

__all__ = ["check_replaceable", "replace_folder"]


class _Listing(msgspec.Struct):
    schema_version: int
    task: str
    files: dict[str, Any]


@contextlib.contextmanager
def replace_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that becomes it when the block succeeds.

    When the block fails nothing is left behind, and a ``target`` that existed is untouched. Where
    ``target`` is a link, what it names is replaced and the link stays; what a bundle's folder holds
    beside the bundle is carried over.

    Raises:
        BundleError: ``target`` exists and ``force`` is not set, or it is no bundle, or nothing can
            be written beside it.
    """
    check_replaceable(target, force=force)
    try:
        place = target.resolve()
        missing = [parent for parent in place.parents if not parent.exists()]
    except (OSError, RuntimeError, ValueError) as error:  # such as a loop of links, a zero byte
        raise _unwritable(target, error) from error
    # The holder is private; the folder inside it has the permissions that any new folder gets.
    holder = place.parent / f".{place.name}.{secrets.token_hex(4)}"
    work, old = holder / "new", holder / "old"
    try:  # from before the first folder is made: a request to end may come at any moment
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            holder.mkdir(mode=0o700)
            work.mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        yield work
        check_replaceable(target, force=force)  # it may have appeared meanwhile
        if place.exists():
            _carry(_strays(place), work)
            place.replace(old)
        work.replace(place)
    finally:
        if _is_there(holder):
            if old.exists() and not place.exists():
                old.replace(place)
            shutil.rmtree(holder)
        _remove_empty(missing)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove those that hold nothing, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds the bundle, or was never made
            folder.rmdir()


def _unwritable(target: Path, error: Exception) -> BundleError:
    return BundleError(
        f"output {target} cannot be written",
        expected="a folder that can be made and written to",
        got=str(error),
    )


def check_replaceable(target: Path, *, force: bool) -> None:
    """Make sure that a bundle may be written to a place, before work is done for it.

    Raises:
        BundleError: ``target`` exists and ``force`` is not set, or it is no bundle, or it is the
            folder that this process works in.
    """
    try:
        exists = target.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise _unwritable(target, error) from error
    if not exists:
        return
    if not force:
        raise BundleError(
            f"output {target} exists already", fix="Pass --force to replace it, or another -o"
        )
    if _listing(target) is None:
        raise BundleError(
            f"output {target} exists and is not a bundle",
            expected=f"the {MANIFEST} of a bundle in it",
            got="something else",
            fix="Remove it yourself, or pass another -o",
        )
    if Path.cwd().is_relative_to(target.resolve()):
        raise BundleError(
            f"output {target} is the folder that this command runs in",
            expected="a folder that can be replaced",
            got=str(Path.cwd()),
            fix="Run it from outside the bundle",
        )


def _listing(folder: Path) -> _Listing | None:
    """What a bundle of any version says that it holds; ``None`` where the folder is no bundle."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Listing)
    except (*MALFORMED, OSError):
        return None


def _strays(folder: Path) -> list[Path]:
    """What a bundle's folder holds that is none of the bundle's."""
    listing = _listing(folder)
    own = {MANIFEST} if listing is None else {MANIFEST, *listing.files}
    return sorted(path for path in folder.iterdir() if path.name not in own)


def _carry(strays: Sequence[Path], work: Path) -> None:
    """Copy a user's own files into the new folder, so that replacing the old one loses nothing."""
    for path in strays:
        new = work / path.name
        if new.exists():
            raise BundleError(
                f"output {path.parent} holds a file {path.name} that is not the bundle's",
                expected="none of a name that the new bundle needs",
                got=path.name,
                fix="Move it away",
            )
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new, symlinks=True)
        else:
            shutil.copy2(path, new, follow_symlinks=False)
