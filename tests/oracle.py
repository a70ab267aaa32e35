"""The original implementation, tiny and random: what parity tests compare with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor

__all__ = ["WORDS", "random_batch", "save_tiny", "save_tiny_halves", "write_vocabulary"]

# Enough to spell lower-case ASCII and some words whole, in pieces, accented and CJK.
WORDS = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *"abcdefghijklmnopqrstuvwxyz0123456789.,!?'-",
    *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"),
    *("the", "cat", "sat", "on", "mat", "a", "dog", "##s", "##ing", "run", "the", "new", "york"),
    *("é", "ß", "中", "文", "##中", "naive", "Cat", "É", "\u0131", "😀"),
)

_SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "max_position_embeddings": 32,
    "attn_implementation": "eager",
    # With a cache the original measures every relative distance from the last token; it is trained
    # without one.
    "use_cache": False,
}


def write_vocabulary(folder: Path, **config: Any) -> int:
    """Write ``vocab.txt`` and ``tokenizer_config.json``; gives the vocabulary's size."""
    tokens = tuple(dict.fromkeys(WORDS))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    settings = {"do_lower_case": True, "model_max_length": 32} | config
    transformers.BertTokenizer(str(folder / "vocab.txt"), **settings).save_pretrained(folder)
    return len(tokens)


def save_tiny(cls_name: str, folder: Path, *, seed: int = 0, **config: Any) -> Any:
    """Save a random model of the original implementation with a usable tokenizer.

    Args:
        cls_name: A class of ``transformers``, such as ``BertForMaskedLM``.
        folder: Where ``config.json``, ``model.safetensors`` and the tokenizer go.
        seed: Of the weights.
        config: Fields of ``BertConfig``; sizes default to tiny ones. ``model_max_length`` goes to
            the tokenizer.

    Returns:
        The model in evaluation mode, as saved.
    """
    longest = config.pop("model_max_length", _SIZES["max_position_embeddings"])
    size = write_vocabulary(folder, model_max_length=longest)
    fields = _SIZES | {"vocab_size": size} | config
    model = getattr(transformers, cls_name)(transformers.BertConfig(**fields))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(0.3 * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    model.save_pretrained(folder)
    return model.eval()


def save_tiny_halves(
    folder: Path,
    *,
    encoder: dict[str, Any] | None = None,
    decoder: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
    seed: int = 0,
    spread: float = 0.3,
    **config: Any,
) -> Any:
    """Save a random encoder-decoder of two BERTs, as :func:`save_tiny` does with one.

    Args:
        folder: Where it goes.
        encoder: Fields of the encoder's config.
        decoder: Fields of the decoder's.
        generation: Fields of the generation config.
        seed: Of the weights.
        spread: Of the weights.
        config: Fields of the config around both; ``model_max_length`` goes to the tokenizer.
    """
    longest = config.pop("model_max_length", _SIZES["max_position_embeddings"])
    size = write_vocabulary(folder, model_max_length=longest)
    fields = {"vocab_size": size, **_SIZES, "use_cache": True}
    halves = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(
        transformers.BertConfig(**fields | (encoder or {})),
        transformers.BertConfig(**fields | (decoder or {})),
        **config,
    )
    model = transformers.EncoderDecoderModel(halves)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(spread * noise + (1.0 if name.endswith("LayerNorm.weight") else 0.0))
    chosen = {"decoder_start_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "bos_token_id": 2}
    model.generation_config = transformers.GenerationConfig(**chosen | (generation or {}))
    model.save_pretrained(folder)
    return model.eval()


def random_batch(
    vocab_size: int,
    lengths: tuple[int, ...] = (7, 3, 1),
    *,
    type_vocab_size: int = 2,
    seed: int = 0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Right-padded ``input_ids, attention_mask, token_type_ids``, (B, S) int64 each."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(lengths), max(lengths))
    mask = (torch.arange(shape[1]) < torch.tensor(lengths).unsqueeze(1)).long()
    ids = torch.randint(5, vocab_size, shape, generator=generator) * mask
    types = torch.randint(0, type_vocab_size, shape, generator=generator) * mask
    return ids, mask, types
