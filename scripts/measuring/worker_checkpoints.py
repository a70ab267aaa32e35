"""Writes Hugging Face directories: a demonstration with its adapter merged, or random weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.demo import find_base
from measuring.child import read_request, send

_TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_SEED = 0
# With the usual 0.02 the layers add so little to the embeddings that quantization could hardly go
# wrong; twice that makes every layer matter, so that the agreement check has something to judge.
_INITIALIZER_RANGE = 0.04
# A fresh model's biases are 0 and its norms' weights 1; no trained tensor is constant, and equal
# tensors are stored once by some tools, so these are spread as well.
_SPREAD = 0.05


def write_demo(folder: Path, name: str, random_labels: int | None) -> None:
    """Write a demonstration as ``from_pretrained`` wants it."""
    checkpoint = load_checkpoint(f"demo:{name}")
    config, tensors = dict(checkpoint.config), dict(checkpoint.tensors)
    if random_labels is not None:
        config["architectures"] = ["BertForSequenceClassification"]
        config["problem_type"] = "single_label_classification"
        config["id2label"] = {str(index): f"LABEL_{index}" for index in range(random_labels)}
        config["label2id"] = {label: int(index) for index, label in config["id2label"].items()}
        generator = torch.Generator().manual_seed(_SEED)
        shape = (random_labels, config["hidden_size"])
        tensors["classifier.weight"] = torch.randn(shape, generator=generator)
        tensors["classifier.bias"] = torch.zeros(random_labels)
    tokenizer = checkpoint.tokenizer
    folder.mkdir(parents=True, exist_ok=True)
    copies = {key: tensor.float().clone().contiguous() for key, tensor in tensors.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})
    _write_json(folder / "config.json", config)
    (folder / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    _write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizerFast",
            "do_lower_case": tokenizer.do_lower_case,
            "model_max_length": tokenizer.max_length or config["max_position_embeddings"],
            "cls_token": tokenizer.cls_token,
            "sep_token": tokenizer.sep_token,
            "pad_token": tokenizer.pad_token,
            "mask_token": tokenizer.mask_token,
            "unk_token": tokenizer.unk_token,
        },
    )


def write_random(folder: Path, architecture: str) -> None:
    """Write a model of BERT-base size, random but for its vocabulary."""
    import transformers

    torch.manual_seed(_SEED)
    base = find_base("minilm")
    vocabulary = (base / "vocab.txt").read_text(encoding="utf-8").splitlines()
    config = transformers.BertConfig(  # type: ignore[no-untyped-call]
        vocab_size=len(vocabulary),
        initializer_range=_INITIALIZER_RANGE,
    )
    model = getattr(transformers, architecture)(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter += _SPREAD * torch.randn(parameter.shape)
    folder.mkdir(parents=True, exist_ok=True)
    for name in _TOKENIZER_FILES:
        shutil.copyfile(base / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    settings["model_max_length"] = config.max_position_embeddings
    _write_json(folder / "tokenizer_config.json", settings)
    model.save_pretrained(folder)  # last: its weights say that the directory is whole


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Do what the request says."""
    request = read_request()
    if request["kind"] == "base":
        send("result", folder=str(find_base("minilm")))
    elif request["kind"] == "demo":
        write_demo(Path(request["folder"]), request["name"], request["random_labels"])
    else:
        write_random(Path(request["folder"]), request["architecture"])


if __name__ == "__main__":
    main()
