"""How long a checkpoint of BERT-base takes to open, and how much memory, for every format.

The checkpoints are made here, with random weights, by the writers of the tests::

    python scripts/benchmarks/opening.py FOLDER [FORMAT ...]

Each format is opened in a process of its own, twice: the second time its files are in the page
cache. Memory is the peak of the process less what its imports took, as a multiple of the bytes of
the head's weights.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

from tests.checkpoints import foreign

HEAD = "BertForPreTraining"
_CHILD = """
import sys, time
from pathlib import Path
def resident(key):
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024
import h5py, torch, google_crc32c
from bert_export.checkpoints import load_checkpoint
from bert_export.models import load_head
torch.ones(8, 8) @ torch.ones(8, 8)
before = resident("VmRSS:")
began, computing = time.perf_counter(), time.process_time()
checkpoint = load_checkpoint(sys.argv[1])
read = time.perf_counter() - began
head = load_head(sys.argv[2], checkpoint)
opened = time.perf_counter() - began
computed = time.process_time() - computing
weights = sum(parameter.nbytes for parameter in head.state_dict().values())
weights -= head.state_dict()["cls.predictions.decoder.weight"].nbytes  # tied
peak = resident("VmHWM:") - before
print(f"{read:.2f} {opened:.2f} {computed:.2f} {peak / weights:.2f} {weights / 1e6:.0f}")
"""


def _tensorflow_1(model: torch.nn.Module, folder: Path) -> None:
    foreign.write_bundle(folder / "bert_model.ckpt", foreign.tensorflow_v1_arrays(model))


def _tensorflow_1_with_slots(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_v1_arrays(model)
    slots = {f"{name}/adam_{kind}": array for name, array in arrays.items() for kind in "mv"}
    foreign.write_bundle(folder / "bert_model.ckpt", arrays | slots)


def _tensorflow_1_partitioned(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_v1_arrays(model)
    words = "bert/embeddings/word_embeddings"
    rows = len(arrays[words])
    cuts = {words: (0, (rows // 2, rows - rows // 2))}
    foreign.write_bundle(folder / "bert_model.ckpt", arrays, shards=2, cuts=cuts)


def _objects(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_h5_arrays(model)
    keys = {f"variables/{i}/.ATTRIBUTES/VARIABLE_VALUE": name for i, name in enumerate(arrays)}
    # A graph of objects has the names without the group of the layer that HDF5 puts before them.
    names = {key: name.split("/", 1)[1].removesuffix(":0") for key, name in keys.items()}
    foreign.write_bundle(
        folder / "variables" / "variables",
        {key: arrays[name] for key, name in keys.items()},
        objects=names,
    )


def _h5(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_h5_arrays(model)
    # TensorFlow stores the embeddings a second time, for the head that shares them.
    copies = {
        name.replace("bert/tf_bert_model/", "mlm___cls/tf_bert_model/", 1): array
        for name, array in arrays.items()
        if name.startswith("bert/tf_bert_model/bert/embeddings/")
    }
    foreign.write_h5(folder / "tf_model.h5", arrays | copies)


def _h5_float16(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_h5_arrays(model)
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    foreign.write_h5(folder / "tf_model.h5", halves)


def _flax(model: torch.nn.Module, folder: Path) -> None:
    leaves = {name: foreign.packed(array) for name, array in foreign.flax_arrays(model).items()}
    foreign.write_msgpack(folder / "flax_model.msgpack", foreign.nested(leaves))


def _flax_bfloat16(model: torch.nn.Module, folder: Path) -> None:
    leaves = {}
    for name, array in foreign.flax_arrays(model).items():
        halves = torch.from_numpy(array).to(torch.bfloat16).view(torch.int16).numpy()
        leaves[name] = foreign.packed(halves, dtype="bfloat16")
    foreign.write_msgpack(folder / "flax_model.msgpack", {"params": foreign.nested(leaves)})


def _safetensors_of_tensorflow(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.tensorflow_h5_arrays(model)
    named = {name.split("/", 2)[2]: array for name, array in arrays.items()}
    save_file(named, folder / "model.safetensors", metadata={"format": "tf"})


def _safetensors_of_flax(model: torch.nn.Module, folder: Path) -> None:
    arrays = foreign.flax_arrays(model)
    save_file(arrays, folder / "model.safetensors", metadata={"format": "flax"})


def _pickle(model: torch.nn.Module, folder: Path) -> None:
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def _old_pickle(model: torch.nn.Module, folder: Path) -> None:
    path = folder / "pytorch_model.bin"
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)


def _safetensors(model: torch.nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)  # type: ignore[operator]


def _safetensors_float16(model: torch.nn.Module, folder: Path) -> None:
    model.half().save_pretrained(folder)  # type: ignore[operator]


MAKERS: Mapping[str, Callable[[torch.nn.Module, Path], None]] = {
    "tensorflow-1": _tensorflow_1,
    "tensorflow-1-with-slots": _tensorflow_1_with_slots,
    "tensorflow-1-partitioned": _tensorflow_1_partitioned,
    "tensorflow-2-objects": _objects,
    "tensorflow-h5": _h5,
    "tensorflow-h5-float16": _h5_float16,
    "flax": _flax,
    "flax-bfloat16": _flax_bfloat16,
    "safetensors": _safetensors,
    "safetensors-float16": _safetensors_float16,
    "safetensors-tensorflow": _safetensors_of_tensorflow,
    "safetensors-flax": _safetensors_of_flax,
    "pytorch": _pickle,
    "pytorch-without-zip": _old_pickle,
}


def make(name: str, folder: Path) -> None:
    """Write a random checkpoint of BERT-base in a format; a folder that is there is left."""
    if (folder / "vocab.txt").is_file():
        return
    torch.manual_seed(0)
    make_config: Any = transformers.BertConfig  # without annotations
    config = make_config()
    folder.mkdir(parents=True, exist_ok=True)
    MAKERS[name](getattr(transformers, HEAD)(config), folder)
    stated = config.to_dict() | {"architectures": [HEAD], "model_type": "bert"}
    is_old = name.startswith("tensorflow-1")
    (folder / ("bert_config.json" if is_old else "config.json")).write_text(json.dumps(stated))
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"word{index}" for index in range(config.vocab_size - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")


def main(folder: Path, names: list[str]) -> None:
    """Print a line per format and run."""
    columns = ("read, s", "opened, s", "processor, s", "memory / weights", "weights, MB")
    print("format, run:", *columns, sep=" | ")
    for name in names or MAKERS:
        make(name, folder / name)
        for run in ("first", "again"):
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, str(folder / name), HEAD],
                check=True,
                capture_output=True,
                text=True,
            )
            print(f"{name}, {run}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
