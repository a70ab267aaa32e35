"""The folder beside a bundle in which the next one is made, and that only one process may hold.

A bundle ``out`` is made in ``.out.bert-export-writing``. That folder holds::

    owner.json   locked by the process that makes it, and what that process says of itself
    new          the bundle as far as it is written
    ready        the whole bundle, before the exchange with ``out``; what ``out`` was, after it
    old          what ``out`` was, where the file system cannot exchange two folders in one step

A process that is killed leaves it behind, unlocked. Whoever holds it next puts in order what is
there: nothing that a user had is lost, and the folder is removed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from bert_export.bundle.integrity import MALFORMED, MANIFEST, MOST_MANIFEST
from bert_export.bundle.locks import LocksUnsupportedError, lock
from bert_export.bundle.renaming import rename_new
from bert_export.errors import BundleError
from bert_export.regular_files import read_regular

__all__ = [
    "NEW",
    "OLD",
    "READY",
    "HeldError",
    "collect_leftovers",
    "hold",
    "is_about_to_change",
    "is_bundle",
    "is_interrupted",
    "strays",
]

_SUFFIX = ".bert-export-writing"
_OWNER = "owner.json"
_MOST_OWNER = 1 << 16
_PAUSE = 0.05
NEW, READY, OLD = "new", "ready", "old"


class HeldError(BundleError):
    """Another process makes the bundle of this place."""


class _Owner(msgspec.Struct):
    """Who holds it: a process of a host, since a time in UTC (ISO 8601)."""

    pid: int
    host: str
    since: str


class _Listing(msgspec.Struct):
    """What the manifests of all versions have."""

    schema_version: int
    task: str
    files: dict[str, Any]


@contextlib.contextmanager
def hold(place: Path) -> Iterator[Path]:
    """Hold the folder in which a bundle is made, and remove it at the end.

    Args:
        place: Where the bundle is or will be, without links; folders above it are made.

    Yields:
        The folder: what a killed process left in it is put in order and gone.

    Raises:
        HeldError: Another process holds it.
        OSError: It cannot be made.
    """
    holder = _holder(place)
    try:
        file = _lock(holder)
    except (HeldError, OSError):
        raise
    except BaseException:  # a request to end came between the folder and its lock
        collect_leftovers(holder.parent)
        raise
    with file:
        try:
            _settle(holder, place)
            yield holder
        finally:
            try:
                _leave(holder, place)
            except (HeldError, OSError):
                raise
            except BaseException:  # a request to end came meanwhile
                _leave(holder, place)
                raise


def _leave(holder: Path, place: Path) -> None:
    """Put in order what is left in a held folder, and remove it; it may be half done already."""
    if not holder.exists():
        return
    _settle(holder, place)
    if set(holder.iterdir()) <= {holder / _OWNER}:
        (holder / _OWNER).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # somebody is about to lock it
            holder.rmdir()


def collect_leftovers(folder: Path) -> None:
    """Put in order what processes that were killed left of the bundles in a folder.

    What another process holds, or another user owns, stays as it is.
    """
    for holder in folder.glob(f".*{_SUFFIX}"):
        place = folder / holder.name.removeprefix(".").removesuffix(_SUFFIX)
        with contextlib.suppress(HeldError, OSError):
            if (holder / _OWNER).is_file():
                with hold(place):
                    pass
            else:  # killed before it could say who it is, or after the last file was removed
                holder.rmdir()


def is_interrupted(place: Path) -> bool:
    """Whether nothing is at a place because its bundle is just being replaced, in two steps.

    Where the process that did so was killed between them, the bundle is put back first.
    """
    if os.path.lexists(place) or not (_holder(place) / OLD).exists():
        return False
    with contextlib.suppress(HeldError, OSError), hold(place):  # a reader may not be allowed to
        pass
    return True


def is_about_to_change(place: Path) -> bool:
    """Whether a finished bundle waits to take a place."""
    return (_holder(place) / READY).exists()


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds a bundle of any version."""
    return _listing(folder) is not None


def strays(folder: Path) -> list[Path]:
    """What a bundle's folder holds that is none of the bundle's."""
    listing = _listing(folder)
    own = {MANIFEST} if listing is None else {MANIFEST, *listing.files}
    return sorted(path for path in folder.iterdir() if path.name not in own)


def _holder(place: Path) -> Path:
    return place.with_name(f".{place.name}{_SUFFIX}")


def _listing(folder: Path) -> _Listing | None:
    try:
        return msgspec.json.decode(
            read_regular(folder / MANIFEST, most=MOST_MANIFEST), type=_Listing
        )
    except (*MALFORMED, OSError):
        return None


def _lock(holder: Path) -> BinaryIO:
    """Make the folder and lock it, until the file that is returned is closed.

    Raises:
        HeldError: Another process has locked it.
        OSError: It cannot be made, or is another user's.
    """
    owner = holder / _OWNER
    while True:
        # Who held it before may remove it, and folders made for it, between any two of these lines.
        holder.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            holder.mkdir(mode=0o711)  # readers of other users may ask for what is in it by name
        try:
            _check_own(holder)
            file = owner.open("a+b")
        except FileNotFoundError:
            continue
        with contextlib.ExitStack() as stack:
            stack.enter_context(file)
            _take(file, owner, holder)
            if _stands_at(file, owner):
                file.truncate(0)
                file.write(_describe_owner())
                file.flush()
                stack.pop_all()
                return file


def _check_own(holder: Path) -> None:
    """Refuse a link, and a folder into which another user could put something."""
    found = holder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise PermissionError(f"{holder} is not a folder of this user; remove it")


def _take(file: BinaryIO, owner: Path, holder: Path) -> None:
    """Lock the file, or make sure that its owner is gone where there are no locks."""
    try:
        is_free = lock(file.fileno())
    except LocksUnsupportedError:
        if not owner.stat().st_size:  # made by this process, or by one that is about to write it
            time.sleep(_PAUSE)
        is_free = not _is_alive(_read_owner(owner))
    if not is_free:
        place = holder.with_name(holder.name.removeprefix(".").removesuffix(_SUFFIX))
        found = _read_owner(owner)
        raise HeldError(
            f"output {place} is being written by another process",
            expected="one at a time",
            got="a process that has just started"
            if found is None
            else f"process {found.pid} of host {found.host}, since {found.since}",
            fix="Wait for it, or pass another -o",
        )


def _stands_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _describe_owner() -> bytes:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return msgspec.json.encode(_Owner(os.getpid(), socket.gethostname(), since))


def _read_owner(path: Path) -> _Owner | None:
    try:
        return msgspec.json.decode(read_regular(path, most=_MOST_OWNER), type=_Owner)
    except (*MALFORMED, OSError):
        return None


def _is_alive(owner: _Owner | None) -> bool:
    """Whether a process may still run; of one on another host nothing is known."""
    if owner is None:
        return False
    if owner.host != socket.gethostname():
        return True
    try:
        os.kill(owner.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True


def _settle(holder: Path, place: Path) -> None:
    """Put back what was moved away, rescue what users put beside it, and remove the rest."""
    if (holder / OLD).exists() and not os.path.lexists(place):
        rename_new(holder / OLD, place)
    for name in (READY, OLD):
        if is_bundle(holder / name) and place.is_dir():
            for path in strays(holder / name):
                with contextlib.suppress(FileExistsError):  # it was carried over before
                    rename_new(path, place / path.name)
    for path in [path for path in holder.iterdir() if path.name != _OWNER]:
        try:
            shutil.rmtree(path, onerror=_remove_read_only)
        except (
            OSError
        ):  # such as a file of it that is open, over a network: a later call removes it
            path.rename(holder / secrets.token_hex(4))


def _remove_read_only(remove: Callable[[str], object], path: str, caught: Any) -> None:
    """Remove what stands in a folder that its owner may not write to."""
    if not isinstance(caught[1], PermissionError):
        raise caught[1]
    for place in (Path(path).parent, Path(path)):
        if place.is_dir() and not place.is_symlink():
            place.chmod(0o700)
    if remove in (os.rmdir, os.unlink):
        remove(path)
    else:  # the folder could not be listed
        shutil.rmtree(path)
