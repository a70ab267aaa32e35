"""Jobs that write checkpoints and plain graphs of them; they need the project's environment.

Checkpoints are Hugging Face directories: a demonstration with its adapter merged, or random
weights.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.demo import find_base
from bert_export.errors import BertExportError

__all__ = ["EXPECTED_ERRORS", "find_base_folder", "trace_plainly", "write_demo", "write_random"]

EXPECTED_ERRORS = (BertExportError,)

_TOKENIZER_FILES = (
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_SEED = 0
_PLAIN_OPSET = 20  # what stock tools know well
# With the usual 0.02 the layers add so little to the embeddings that quantization could hardly go
# wrong; twice that makes every layer matter, so that the agreement check has something to judge.
_INITIALIZER_RANGE = 0.04
# A fresh model's biases are 0 and its norms' weights 1; no trained tensor is constant, and equal
# tensors are stored once by some tools, so these are spread as well.
_SPREAD = 0.05


def find_base_folder(request: Mapping[str, Any]) -> dict[str, Any]:
    """The base model's own folder, as sentence-transformers reads it; the request holds nothing."""
    del request
    return {"folder": str(find_base("minilm"))}


def write_demo(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a demonstration as ``from_pretrained`` wants it.

    Args:
        request: ``name``; ``folder``; ``random_labels``, where a random classifier with so many
            labels is put on it, or null.
    """
    folder, name = Path(request["folder"]), request["name"]
    random_labels: int | None = request["random_labels"]
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
    return {}


def write_random(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a model of BERT-base size, random but for its vocabulary.

    Args:
        request: ``folder``; ``architecture``, a class of ``transformers``; ``config``, further
            fields of its configuration, where there are some.
    """
    import transformers

    folder, architecture = Path(request["folder"]), request["architecture"]

    torch.manual_seed(_SEED)
    base = find_base("minilm")
    vocabulary = (base / "vocab.txt").read_text(encoding="utf-8").splitlines()
    config = transformers.BertConfig(  # type: ignore[no-untyped-call]
        vocab_size=len(vocabulary),
        initializer_range=_INITIALIZER_RANGE,
        **request.get("config", {}),
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
    return {}


def trace_plainly(request: Mapping[str, Any]) -> dict[str, Any]:
    """Write a head's graph as it is traced, without any pass.

    Args:
        request: ``task``; ``model``, a checkpoint; ``max_length``; ``graph``, the file.
    """
    import onnx_ir as ir

    from bert_export.models import load_head
    from bert_export.tasks import find_task
    from bert_export.tracing import trace

    task = find_task(request["task"])
    head = load_head(task.head, load_checkpoint(request["model"]))
    choices = any("choices" in output.shape for output in task.outputs)
    axes = ("batch", "choices", "sequence") if choices else ("batch", "sequence")
    shapes = {output.name: output.shape for output in task.outputs}
    model = trace(
        head,
        inputs=tuple((name, axes) for name in head.inputs),
        outputs=tuple((name, shapes[name]) for name in head.outputs),
        max_length=request["max_length"],
        opset=_PLAIN_OPSET,
    )
    path = Path(request["graph"])
    path.parent.mkdir(parents=True, exist_ok=True)
    ir.save(model, path)
    return {}


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
