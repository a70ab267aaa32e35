"""Mutated checkpoints, of every format that is read."""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save as save_arrays
from safetensors.torch import save_file

from bert_export.bundle import ExportRequest
from bert_export.checkpoints import load_checkpoint
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import check_request
from bert_export.exporter.source import load_source
from bert_export.models import load_head
from tests.checkpoints.foreign import (
    OBJECT_GRAPH,
    bundle_entries,
    chunked,
    flax_arrays,
    nested,
    object_entry,
    object_graph,
    packed,
    table,
    tensorflow_h5_arrays,
    tensorflow_v1_arrays,
    write_h5,
    write_index,
    write_msgpack,
)
from tests.fuzz.damage import ODD_FILES, damage, damage_json, damage_tokenizer
from tests.fuzz.frame import Fuzz
from tests.oracle import save_tiny

__all__ = ["Checkpoints"]

Write = Callable[[random.Random], None]
_HEAD = "BertForTokenClassification"


class Checkpoints(Fuzz):
    """A small checkpoint in each format, of which one file or more is damaged."""

    seconds = 3.0
    memory = 64 << 20

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        torch.set_num_threads(1)
        self._formats: list[tuple[Path, Write]] = []
        for name, prepare in FORMATS.items():
            if self.part not in (None, name):
                continue
            place = folder / name
            model = save_tiny(_HEAD, place, num_labels=3, num_hidden_layers=1)
            if prepare not in (_safetensors, _files):
                (place / "model.safetensors").unlink()
            self._formats.append((place, prepare(place, model)))

    def case(self, number: int, chance: random.Random) -> None:
        """Damage a checkpoint, and read its head; beside damaged settings, all of an export."""
        place, write = self._formats[number % len(self._formats)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if place.name == "files":
                self._read_damaged_files(place, write, chance)
            else:  # each case writes the weights anew
                write(chance)
                load_head(_HEAD, load_checkpoint(str(place)))

    def _read_damaged_files(self, place: Path, write: Write, chance: random.Random) -> None:
        """Damage a copy, of which any file may go, and read all that an export reads."""
        kept = place.with_name(f"{place.name}-kept")
        if kept.exists():  # a case before this one ended its process
            shutil.rmtree(place, ignore_errors=True)
        else:
            place.rename(kept)
        shutil.copytree(kept, place)
        try:
            write(chance)
            request = ExportRequest(task="token-classification", model=str(place))
            load_source(check_request(request), progress=Progress(None))
        finally:
            shutil.rmtree(place)
            kept.rename(place)


def _safetensors(folder: Path, _: Any) -> Write:
    return _in_place(folder / "model.safetensors", (folder / "model.safetensors").read_bytes())


def _safetensors_of_tensorflow(folder: Path, model: Any) -> Write:
    arrays = {path.split("/", 2)[2]: array for path, array in tensorflow_h5_arrays(model).items()}
    return _in_place(folder / "model.safetensors", save_arrays(arrays, {"format": "tf"}))


def _safetensors_of_flax(folder: Path, model: Any) -> Write:
    return _in_place(
        folder / "model.safetensors", save_arrays(flax_arrays(model), {"format": "flax"})
    )


def _in_place(path: Path, whole: bytes) -> Write:
    """Bytes of a file of safetensors damaged, or what its header says."""
    header = int.from_bytes(whole[:8], "little")

    def write(chance: random.Random) -> None:
        if chance.random() < 0.3:
            path.write_bytes(damage(whole, chance))
            return
        told = json.loads(whole[8 : 8 + header])
        text = json.dumps(damage_json(told, chance)).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + whole[8 + header :])

    return write


def _pickle(folder: Path, model: Any) -> Write:
    """A zip of torch.save, and the form before it."""
    path = folder / "pytorch_model.bin"
    contents = []
    for is_zip in (True, False):
        torch.save(model.state_dict(), path, _use_new_zipfile_serialization=is_zip)
        contents.append(path.read_bytes())
    return lambda chance: _put(path, damage(chance.choice(contents), chance, most=8))


def _shards(folder: Path, model: Any) -> Write:
    """Two files, and an index of their tensors."""
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    names = sorted(tensors)
    shard_of = {name: f"model-{number % 2}.safetensors" for number, name in enumerate(names)}
    for shard in set(shard_of.values()):
        save_file(
            {name: tensors[name] for name in names if shard_of[name] == shard}, folder / shard
        )
    index = {"metadata": {"total_size": 1}, "weight_map": shard_of}

    def write(chance: random.Random) -> None:
        changed = damage_json(index, chance)
        if isinstance(changed, dict) and isinstance(changed.get("weight_map"), dict):
            for name in chance.sample(names, chance.randrange(3)):
                changed["weight_map"][name] = chance.choice(
                    ("../outside.safetensors", "/etc/passwd", "x.bin", "model-9.safetensors", "")
                )
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps(changed), encoding="utf-8")

    return write


def _files(folder: Path, _: Any) -> Write:
    """Configs and tokenizer files damaged, gone, or of another kind."""
    stored = load_checkpoint(str(folder)).tokenizer.json
    (folder / "tokenizer.json").write_text(stored, encoding="utf-8")
    names = sorted(path.name for path in folder.iterdir() if path.suffix in (".json", ".txt"))
    contents = {name: (folder / name).read_bytes() for name in names}
    lines = contents["vocab.txt"].decode().split("\n")

    def write(chance: random.Random) -> None:
        name = chance.choice(names)
        path, kind = folder / name, chance.random()
        if name == "vocab.txt" or chance.random() < 0.2:  # else tokenizer.json is read before it
            (folder / "tokenizer.json").unlink(missing_ok=True)
        if kind < 0.15:
            path.unlink(missing_ok=True)
            chance.choice(ODD_FILES)(path)
        elif kind < 0.35:
            path.write_bytes(damage(contents[name], chance))
        elif name == "vocab.txt":
            mixed = [chance.choice(lines) for _ in range(3)]
            path.write_text("\n".join((*lines[: chance.randrange(len(lines))], *mixed)))
        elif name == "tokenizer.json":
            content = damage_tokenizer(json.loads(contents[name]), chance)
            path.write_text(json.dumps(content), encoding="utf-8")
        else:
            content = damage_json(json.loads(contents[name]), chance)
            path.write_text(json.dumps(content), encoding="utf-8")

    return write


def _h5(folder: Path, model: Any) -> Write:
    path = folder / "tf_model.h5"
    write_h5(path, tensorflow_h5_arrays(model))
    whole = path.read_bytes()
    return lambda chance: _put(path, _damaged_metadata(whole, chance))


def _h5_shards(folder: Path, model: Any) -> Write:
    """Two files without the scope, of which one is damaged, or their index."""
    index = folder / "tf_model.h5.index.json"
    shards: dict[str, Any] = {}
    shard_of: dict[str, str] = {}
    for number, (path, array) in enumerate(tensorflow_h5_arrays(model).items()):
        shard, name = f"tf_model-{number % 2}.h5", path.split("/", 2)[2]
        shards.setdefault(shard, {})[name] = array
        shard_of[name] = shard
    for shard, arrays in shards.items():
        write_h5(folder / shard, arrays)
    write_index(index, shard_of)
    told = json.loads(index.read_text(encoding="utf-8"))
    contents = {folder / shard: (folder / shard).read_bytes() for shard in shards}

    def write(chance: random.Random) -> None:
        of_index = chance.random() < 0.3
        content = damage_json(told, chance) if of_index else told
        index.write_text(json.dumps(content), encoding="utf-8")
        damaged = None if of_index else chance.choice(list(contents))
        for path, whole in contents.items():
            _put(path, _damaged_metadata(whole, chance) if path == damaged else whole)

    return write


def _damaged_metadata(whole: bytes, chance: random.Random) -> bytes:
    """HDF5's own structures damaged more often than the numbers between them."""
    if chance.random() < 0.2:
        return damage(whole, chance)
    marks = (b"TREE", b"HEAP", b"SNOD", b"OHDR", b"\x01\0\x06\0\x01\0\0\0", b"\x89HDF")
    at = -1
    while at < 0:
        mark = chance.choice(marks)
        at = whole.find(mark, chance.randrange(len(whole)))
        if at < 0:
            at = whole.find(mark)
    end = min(len(whole), at + 300)
    return (
        whole[:at] + damage(whole[at:end], chance)[: end - at].ljust(end - at, b"\0") + whole[end:]
    )


def _flax(folder: Path, model: Any) -> Write:
    path = folder / "flax_model.msgpack"
    write_msgpack(path, nested({key: packed(a) for key, a in flax_arrays(model).items()}))
    whole = path.read_bytes()
    return lambda chance: _put(path, damage(whole, chance, most=8))


def _flax_state(folder: Path, model: Any) -> Write:
    """Arrays in chunks and of half the width, below the parameters of a training state."""
    path = folder / "flax_model.msgpack"
    arrays = flax_arrays(model)
    leaves: dict[str, Any] = {
        name: packed(array.astype(np.float16)) for name, array in arrays.items()
    }
    words = "bert.embeddings.word_embeddings.embedding"
    leaves[words] = chunked(arrays[words], 3)
    moments = nested({name: packed(array) for name, array in arrays.items()})
    write_msgpack(path, {"params": nested(leaves), "opt_state": {"0": moments}, "step": 3})
    whole = path.read_bytes()

    def write(chance: random.Random) -> None:
        # The chunks of an array are few of the file's bytes.
        at = chance.choice((0, whole.find(b"__msgpack_chunked"), whole.find(b"chunks")))
        end = len(whole) if at == 0 else at + 200
        _put(path, whole[:at] + damage(whole[at:end], chance, most=8) + whole[end:])

    return write


def _tensorflow(folder: Path, model: Any) -> Write:
    """Index and data damaged as they are: checksums must find it."""
    index, data = _tensorflow_paths(folder)
    entries, files = bundle_entries(tensorflow_v1_arrays(model))
    whole = table(entries)
    _put(data, files[0])

    def write(chance: random.Random) -> None:
        of_index = chance.random() < 0.5
        _put(index, damage(whole, chance) if of_index else whole)
        _put(data, files[0] if of_index else damage(files[0], chance))

    return write


def _tensorflow_entries(folder: Path, model: Any) -> Write:
    """What stands below the checksums of an index damaged: blocks, keys, entries and slices."""
    index, data = _tensorflow_paths(folder)
    arrays = tensorflow_v1_arrays(model)
    words = "bert/embeddings/word_embeddings"
    rows = len(arrays[words])
    entries, files = bundle_entries(arrays, cuts={words: (0, (1, 30, rows - 31))})
    _put(data, files[0])

    def write(chance: random.Random) -> None:
        changed = list(entries)
        of_block = chance.random() < 0.4
        for _ in range(0 if of_block else chance.randint(1, 3)):
            at = chance.randrange(len(changed))
            key, value = changed[at]
            if chance.random() < 0.3:
                changed[at] = (damage(key, chance, most=2), value)
            else:
                changed[at] = (key, damage(value, chance, most=2))
        share = 0.2 if of_block else 0.0
        _put(
            index,
            table(
                changed if of_block else sorted(dict(changed).items()),
                damage=lambda body: damage(body, chance) if chance.random() < share else body,
            ),
        )

    return write


def _tensorflow_objects(folder: Path, model: Any) -> Write:
    """The variables of a SavedModel: what stands below the checksums, and the graph of objects."""
    index, data = (
        folder / "variables" / f"variables.{ending}" for ending in ("index", "data-00000-of-00001")
    )
    arrays, names = {}, {}
    for number, (path, array) in enumerate(tensorflow_h5_arrays(model).items()):
        key = f"variables/{number}/.ATTRIBUTES/VARIABLE_VALUE"
        arrays[key], names[key] = array, path.split("/", 1)[1].removesuffix(":0")
    entries, files = bundle_entries(arrays)
    graph = object_graph(names)
    index.parent.mkdir()

    def write(chance: random.Random) -> None:
        changed = dict(entries)
        damaged = damage(graph, chance) if chance.random() < 0.6 else graph
        entry, stored = object_entry(damaged, offset=len(files[0]))
        if damaged is graph:
            key = chance.choice(list(changed))
            changed[key] = damage(changed[key], chance, most=2)
            if chance.random() < 0.5:
                entry = damage(entry, chance, most=2)
        changed[OBJECT_GRAPH] = entry
        _put(index, table(sorted(changed.items())))
        _put(data, files[0] + stored)

    return write


def _tensorflow_paths(folder: Path) -> tuple[Path, Path]:
    return folder / "model.ckpt.index", folder / "model.ckpt.data-00000-of-00001"


def _put(path: Path, data: bytes) -> None:
    path.write_bytes(data)


FORMATS: dict[str, Callable[[Path, Any], Write]] = {
    "files": _files,
    "flax": _flax,
    "flax-state": _flax_state,
    "h5": _h5,
    "h5-shards": _h5_shards,
    "pickle": _pickle,
    "safetensors": _safetensors,
    "safetensors-flax": _safetensors_of_flax,
    "safetensors-tensorflow": _safetensors_of_tensorflow,
    "shards": _shards,
    "tensorflow": _tensorflow,
    "tensorflow-entries": _tensorflow_entries,
    "tensorflow-objects": _tensorflow_objects,
}
"""By what is damaged."""

Checkpoints.parts = tuple(FORMATS)
