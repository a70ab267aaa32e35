"""The files beside a graph in a Hugging Face folder: config, tokenizer, vocabulary."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from bert_export.bundle import Manifest
from bert_export.hand_over.consumer import Bundle
from bert_export.tasks.feature_extraction import TASK as FEATURE_EXTRACTION
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["write_config", "write_json", "write_tokenizer"]

# The pooled head is this project's own class.
_ARCHITECTURES = {SENTENCE_EMBEDDING.head: FEATURE_EXTRACTION.head}


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_config(bundle: Bundle, folder: Path) -> None:
    """Write ``config.json``: the architecture, the labels, and the sizes that the manifest holds.

    Sizes of layers that a graph keeps to itself are left out: what runs a graph reads none.
    """
    manifest, model = bundle.manifest, bundle.manifest.model
    config: dict[str, Any] = {
        "model_type": "bert",
        "architectures": [_ARCHITECTURES.get(model.architecture, model.architecture)],
        "hidden_size": model.hidden_size,
        "num_hidden_layers": model.num_hidden_layers,
        "num_attention_heads": model.num_attention_heads,
        "vocab_size": model.vocab_size,
        "type_vocab_size": model.type_vocab_size,
        "max_position_embeddings": model.max_position_embeddings,
        "pad_token_id": bundle.pipeline.tokenizer.pad_id,
    }
    if manifest.labels:
        config["id2label"] = {str(index): name for index, name in enumerate(manifest.labels)}
        config["label2id"] = {name: index for index, name in enumerate(manifest.labels)}
    problem = manifest.postprocessing.get("problem_type")
    if problem is not None:
        config["problem_type"] = problem
    activation = manifest.postprocessing.get("activation_fn")
    if activation is not None:  # a cross-encoder's
        config["sentence_transformers"] = {"activation_fn": activation}
    write_json(folder / "config.json", config)


def write_tokenizer(bundle: Bundle, folder: Path) -> None:
    """Write ``tokenizer.json``, its settings, special tokens and, for WordPiece, the vocabulary.

    The class is one that leaves ``tokenizer.json`` as it is: transformers' BERT class where that
    holds the normalizer which this class would make, else the plain one.
    """
    record = bundle.manifest.tokenizer
    text = (bundle.folder / record.file).read_text(encoding="utf-8")
    shutil.copyfile(bundle.folder / record.file, folder / "tokenizer.json")
    special = {
        f"{name}_token": getattr(record, f"{name}_token")
        for name in ("cls", "sep", "pad", "mask", "unk")
    }
    settings: dict[str, Any] = {
        **special,
        "model_max_length": record.max_length,
        "truncation_side": record.truncation_side,
        "clean_up_tokenization_spaces": record.clean_up_tokenization_spaces,
        "model_input_names": ["input_ids", "token_type_ids", "attention_mask"],
        **_class_settings(json.loads(text), bundle.manifest),
    }
    write_json(folder / "tokenizer_config.json", settings)
    write_json(folder / "special_tokens_map.json", special)
    if settings["tokenizer_class"] == "BertTokenizer":
        bundle.pipeline.tokenizer.save_vocabulary(folder)


def _class_settings(tokenizer: dict[str, Any], manifest: Manifest) -> dict[str, Any]:
    normalizer = tokenizer.get("normalizer") or {}
    is_bert = (
        tokenizer["model"]["type"] == "WordPiece"
        and normalizer.get("type") == "BertNormalizer"
        and manifest.tokenizer.token_types
    )
    if not is_bert:
        return {"tokenizer_class": "PreTrainedTokenizerFast"}
    return {
        "tokenizer_class": "BertTokenizer",
        "do_lower_case": normalizer["lowercase"],
        "strip_accents": normalizer["strip_accents"],
        "tokenize_chinese_chars": normalizer["handle_chinese_chars"],
    }
