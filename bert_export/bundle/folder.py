"""Writing a bundle's folder whole or not at all, and reading one that may be replaced meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

from bert_export.bundle.holder import (
    NEW,
    OLD,
    READY,
    collect_leftovers,
    hold,
    is_about_to_change,
    is_bundle,
    is_interrupted,
    strays,
)
from bert_export.bundle.integrity import MANIFEST, read_manifest, verify_files
from bert_export.bundle.locks import lock
from bert_export.bundle.renaming import exchange, rename_new
from bert_export.bundle.schema import Manifest
from bert_export.errors import BertExportError, BundleError

__all__ = [
    "check_replaceable",
    "check_unchanged",
    "read_bundle",
    "read_steadily",
    "replace_folder",
]

T = TypeVar("T")

_WAIT_FOR_READERS = 10.0
"""Seconds in which those that just open a bundle may end before it is replaced."""
_KEEP_READING = 60.0
"""Seconds after which a reader gives up on a bundle that is replaced again and again."""
_PAUSE = 0.01
_LET_WRITER_IN = 0.02
"""Seconds that a reader leaves to a writer, or many readers would keep it waiting."""
_FOLDER = getattr(os, "O_DIRECTORY", 0)


@contextlib.contextmanager
def replace_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that becomes it when the block succeeds.

    One process at a time writes to a place. A reader finds the old folder or the new one, at every
    instant, where the file system can exchange two (all common ones of Linux), and by
    :func:`read_steadily` on others. When the block fails nothing is left behind, and a ``target``
    that existed is untouched; what a process that was killed left is put in order by the next call
    for any folder beside it. Where ``target`` is a link, what it names is replaced and the link
    stays; what a bundle's folder holds beside the bundle is carried over.

    Raises:
        BundleError: ``target`` exists and ``force`` is not set, or it is no bundle, or another
            process writes to it, or nothing can be written beside it.
    """
    check_replaceable(target, force=force)
    try:
        place = target.resolve()
        missing = [parent for parent in place.parents if not parent.exists()]
        if place.parent.is_dir():
            collect_leftovers(place.parent)
    except (OSError, RuntimeError, ValueError) as error:  # such as a loop of links, a zero byte
        raise _unwritable(target, error) from error
    with contextlib.ExitStack() as stack:
        # From before the first folder is made: a request to end may come at any moment.
        stack.callback(_remove_empty, missing)
        # What cannot be written here is ours to say; what fails in the block is not.
        try:
            holder = stack.enter_context(hold(place))
            check_replaceable(target, force=force)  # another process may have finished just now
            work = holder / NEW
            work.mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        yield work
        try:
            check_replaceable(target, force=force)  # it may have appeared meanwhile
            _put(holder, target, place)
        except OSError as error:
            raise _unwritable(target, error) from error


def _put(holder: Path, target: Path, place: Path) -> None:
    """Put a finished folder into its place."""
    ready = holder / READY
    (holder / NEW).rename(ready)
    if not os.path.lexists(place):
        try:
            rename_new(ready, place)
        except FileExistsError:  # by no process of ours: they are locked out
            raise _exists(target) from None
        return
    _carry(strays(place), ready)
    with _without_readers(place):
        if not exchange(ready, place):
            place.rename(holder / OLD)
            ready.rename(place)


@contextlib.contextmanager
def _without_readers(place: Path) -> Iterator[None]:
    """Wait until nobody opens the bundle, and let nobody begin; not for ever."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # it may not be read, or knows no locks
            descriptor = os.open(place, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            lock(descriptor, seconds=_WAIT_FOR_READERS)
        yield


def read_bundle(folder: Path) -> Manifest:
    """The manifest of a bundle whose files are all as it says.

    Raises:
        BundleError: See :func:`~bert_export.bundle.read_manifest` and
            :func:`~bert_export.bundle.verify_files`.
    """

    def read() -> Manifest:
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
        return manifest

    return read_steadily(folder, read)


def check_unchanged(folder: Path, manifest: Manifest, what: str) -> None:
    """Make sure that a bundle is the one that was read, before what was made of it is kept.

    Args:
        folder: Its folder.
        manifest: As it was read.
        what: Was done to it meanwhile, for the error.

    Raises:
        BundleError: It was replaced, or is gone.
    """
    if read_manifest(folder) != manifest:
        raise BundleError(
            f"bundle {folder} changed while it was {what}",
            expected="the bundle that was read",
            got="another manifest",
            fix="Run it again",
        )


def read_steadily(
    folder: Path, read: Callable[[], T], *, discard: Callable[[T], object] | None = None
) -> T:
    """Read files of a bundle that belong together, though it may be replaced at any moment.

    Args:
        folder: The bundle's, or a link to it.
        read: Reads; it is called again where the folder was replaced meanwhile.
        discard: What is done with an answer that holds files of two bundles, such as closing it.

    Returns:
        What ``read`` gave.

    Raises:
        BundleError: The bundle is replaced again and again, for a minute.
        BertExportError: Whatever else ``read`` raises of a bundle that stays.
    """
    end = time.monotonic() + _KEEP_READING
    while time.monotonic() < end:
        with _in_use(folder):
            before = _identity(folder)
            try:
                answer = read()
            except (BertExportError, OSError):
                if before == _identity(folder) and not _is_coming(folder):
                    raise
            else:
                if before == _identity(folder):
                    return answer
                if discard is not None:
                    discard(answer)
        time.sleep(_PAUSE)
    raise BundleError(
        f"bundle {folder} is replaced again and again",
        expected="one that stays while it is opened",
        got=f"changes for {_KEEP_READING:.0f} s",
        fix="Find out who writes it",
    )


@contextlib.contextmanager
def _in_use(folder: Path) -> Iterator[None]:
    """Keep a folder from being replaced; where there are no locks, that is seen afterwards."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, RuntimeError, ValueError):  # reading says what is wrong
            if is_about_to_change(folder.resolve()):
                time.sleep(_LET_WRITER_IN)
            is_old = True
            while is_old:
                descriptor = os.open(folder, os.O_RDONLY | _FOLDER)
                stack.callback(os.close, descriptor)
                lock(descriptor, shared=True, seconds=_WAIT_FOR_READERS)
                # It may have been replaced while this one waited.
                is_old = not os.path.samestat(os.fstat(descriptor), folder.stat())
        yield


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _is_coming(folder: Path) -> bool:
    try:
        return is_interrupted(folder.resolve())
    except (OSError, RuntimeError, ValueError):
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
        got=error,
    )


def _exists(target: Path) -> BundleError:
    return BundleError(
        f"output {target} exists already", fix="Pass --force to replace it, or another -o"
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
        raise _exists(target)
    if not is_bundle(target):
        raise BundleError(
            f"output {target} exists and is not a bundle",
            expected=f"the {MANIFEST} of a bundle in it",
            got="something else",
            fix="Remove it yourself, or pass another -o",
        )
    if _is_worked_in(target):
        raise BundleError(
            f"output {target} is the folder that this command runs in",
            expected="a folder that can be replaced",
            got=str(Path.cwd()),
            fix="Run it from outside the bundle",
        )


def _is_worked_in(target: Path) -> bool:
    try:
        return Path.cwd().is_relative_to(target.resolve())
    except FileNotFoundError:  # the folder that this process works in was removed
        return False


def _carry(paths: Iterable[Path], new: Path) -> None:
    """Put a user's own files into the new folder too, so that replacing the old one loses nothing.

    A file is the same one in both where the file system has hard links: what is written to it
    meanwhile is not lost.
    """
    for path in paths:
        if os.path.lexists(new / path.name):
            raise BundleError(
                f"output {path.parent} holds a file {path.name} that is not the bundle's",
                expected="none of a name that the new bundle needs",
                got=path.name,
                fix="Move it away",
            )
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True, copy_function=_link)
        else:
            _link(path, new / path.name)


def _link(source: str | Path, target: str | Path) -> None:
    """A second name for a file, or a copy where there are no hard links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)
