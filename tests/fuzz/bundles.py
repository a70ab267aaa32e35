"""Mutated bundles: loaded, asked, verified and explained."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from pathlib import Path

from bert_export.bundle import MANIFEST, hash_file, read_bundle
from bert_export.explanation import explain
from bert_export.exporter import export
from bert_export.runtime.loading import load
from bert_export.tasks import find_task
from tests.fuzz.damage import ODD_FILES, damage, damage_json, damage_tokenizer
from tests.fuzz.frame import Fuzz
from tests.oracle import save_tiny

__all__ = ["Bundles"]

_LABELS = {0: "O", 1: "B-PER", 2: "I-PER"}
_MADE = (
    ("text-classification", "BertForSequenceClassification", "fp32", ("onnxruntime",)),
    ("token-classification", "BertForTokenClassification", "int8", ("onnxruntime", "openvino")),
)


class Bundles(Fuzz):
    """Two small bundles, of which a file or the manifest is another one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._bundles = []
        for task, cls_name, precision, targets in _MADE:
            save_tiny(cls_name, folder / cls_name, id2label=_LABELS)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                done = export(
                    task=task,
                    model=folder / cls_name,
                    output=folder / task,
                    precision=precision,
                    targets=targets,
                )
            self._bundles.append(done.path)

    def case(self, number: int, chance: random.Random) -> None:
        """Damage a copy, and do with it what users do."""
        bundle = self.folder / "bundle"
        shutil.rmtree(bundle, ignore_errors=True)
        shutil.copytree(chance.choice(self._bundles), bundle)
        _damage(bundle, chance)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if number % 10 == 0:
                read_bundle(bundle)
            elif number % 10 == 1:
                explain(bundle)
            else:
                _ask(bundle, chance)


def _ask(bundle: Path, chance: random.Random) -> None:
    target = "openvino" if chance.random() < 0.05 else None
    with load(bundle, target=target, threads=1, verify=chance.random() < 0.9) as pipeline:
        example = find_task(pipeline.task).example
        pipeline.ask(example)
        pipeline.ask({name: value * 20 for name, value in example.items()})


def _damage(bundle: Path, chance: random.Random) -> None:
    """Change the manifest, or a file with or without what the manifest says of it."""
    manifest = bundle / MANIFEST
    kind = chance.random()
    if kind < 0.35:
        content = json.loads(manifest.read_bytes())
        manifest.write_text(json.dumps(damage_json(content, chance)), encoding="utf-8")
    elif kind < 0.45:
        manifest.write_bytes(damage(manifest.read_bytes(), chance))
    elif kind < 0.6:
        path = chance.choice(sorted(bundle.iterdir()))
        path.unlink()
        chance.choice(ODD_FILES)(path)
    else:
        path = chance.choice(sorted({*bundle.iterdir()} - {manifest}))
        if path.name == "tokenizer.json" and chance.random() < 0.8:
            content = json.loads(path.read_bytes())
            path.write_text(json.dumps(damage_tokenizer(content, chance)), encoding="utf-8")
        else:
            path.write_bytes(damage(path.read_bytes(), chance))
        if chance.random() < 0.9:
            _record(path, manifest)


def _record(path: Path, manifest: Path) -> None:
    """Put a file's size and hash into the manifest, as whoever made it would."""
    content = json.loads(manifest.read_bytes())
    record = hash_file(path)
    content["files"][path.name] = {"bytes": record.bytes, "sha256": record.sha256}
    manifest.write_text(json.dumps(content), encoding="utf-8")
