"""Exports, replacements and builds that are killed: nothing is lost, and leftovers are collected.

The first cases are killed before each call that touches a file of the output, in a mixed order; all
later ones after a random time.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sys
import time
import warnings
from functools import partial
from importlib import import_module
from pathlib import Path

import torch

from bert_export.bundle import read_bundle, replace_folder
from bert_export.exporter import export
from bert_export.exporter.add_targets import build
from bert_export.tracing import CACHE_VARIABLE
from tests.fuzz.frame import Fuzz
from tests.kills import Child, count_calls, kill_after, kill_at
from tests.oracle import save_tiny

__all__ = ["Kills"]

_COMMANDS = ("export", "replace", "build")


class Kills(Fuzz):
    """The three commands that write bundles."""

    seconds = 60.0
    hangs_after = 1200.0

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        torch.set_num_threads(1)
        os.environ.setdefault(CACHE_VARIABLE, str(folder / "traces"))
        for name, seed in (("old", 0), ("new", 1)):
            labels = {index: f"{name} {index}" for index in range(3)}
            save_tiny("BertForSequenceClassification", folder / name, seed=seed, id2label=labels)
        # In processes of their own: a fork must not find threads of an engine.
        first = partial(self._export, folder / "bundle", "old", names=folder / "modules")
        assert Child(first).wait() == 0
        for name in (folder / "modules").read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ImportError):  # part of a module, or made while it runs
                import_module(name)
        self._calls, self._seconds = {}, {}
        for command in _COMMANDS:
            start = time.monotonic()
            place = self._set_up(command)
            self._calls[command] = count_calls(
                partial(self._run, command, place), of=str(place.parent)
            )
            self._seconds[command] = time.monotonic() - start

    def case(self, number: int, chance: random.Random) -> None:
        """Kill one command, look at what is left, and run the next."""
        command = _COMMANDS[number % len(_COMMANDS)]
        place, work = self._set_up(command), partial(self._run, command, self._place)
        order = list(range(1, self._calls[command] + 1))
        random.Random(command).shuffle(order)
        which = number // len(_COMMANDS)
        if which < len(order):
            assert kill_at(order[which], work, of=str(place.parent)), order[which]
        else:
            kill_after(chance.uniform(0, self._seconds[command]), work)
        self._check(command, place)
        # The next command: for the same place, or for one beside it.
        if number % 4 == 0:
            again = partial(self._export, place, "new", force=True)
            assert Child(again).wait() == 0
        else:
            with replace_folder(place.with_name("other")) as other:
                (other / "file").touch()
            shutil.rmtree(place.with_name("other"))
        self._check(command, place)
        left = {path.name for path in place.parent.iterdir()}
        assert left <= {"out"}, left

    @property
    def _place(self) -> Path:
        return self.folder / "place" / "out"

    def _set_up(self, command: str) -> Path:
        """An empty folder, or one with the old bundle in it and a letter beside its files."""
        place = self._place
        shutil.rmtree(place.parent, ignore_errors=True)
        place.parent.mkdir()
        if command != "export":
            shutil.copytree(self.folder / "bundle", place)
            (place / "letter").write_text("dear", encoding="utf-8")
        return place

    def _run(self, command: str, place: Path) -> None:
        if command == "build":
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                build(place, "onnxruntime", model=self.folder / "old", force=True)
        else:
            self._export(place, "new", force=command == "replace")

    def _export(
        self, place: Path, model: str, *, force: bool = False, names: Path | None = None
    ) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            export(task="text-classification", model=self.folder / model, output=place, force=force)
        if names is not None:  # of what is imported late, so that later ones need not
            names.write_text("\n".join(sys.modules), encoding="utf-8")

    def _check(self, command: str, place: Path) -> None:
        """The old bundle or the new one is there, whole; a new place may be empty too."""
        if command == "export" and not place.exists():
            return
        manifest = read_bundle(place)
        assert manifest.labels[0] in ("old 0", "new 0"), manifest.labels
        if command != "export":
            assert (place / "letter").read_text(encoding="utf-8") == "dear"
