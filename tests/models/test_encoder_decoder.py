"""Heads of encoder-decoders give the logits of the original implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from bert_export.checkpoints import load_checkpoint
from bert_export.errors import CheckpointError, ConfigError, TaskError
from bert_export.models import BertConfig, load_head
from tests.oracle import random_batch, save_tiny, save_tiny_halves

HEAD = "EncoderDecoderModel"
WITHOUT_CACHE = {
    "use_cache": False
}  # with one, the original measures distances from the last token


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"encoder": {"hidden_size": 24, "num_attention_heads": 3, "num_hidden_layers": 3}},
        {"decoder": {"num_hidden_layers": 1, "tie_word_embeddings": False, "vocab_size": 120}},
        {"tie_encoder_decoder": True},
        {
            "encoder": {"position_embedding_type": "relative_key_query"},
            "decoder": {"position_embedding_type": "relative_key", **WITHOUT_CACHE},
        },
        {"encoder": {"max_position_embeddings": 40}, "decoder": {"max_position_embeddings": 12}},
    ],
    ids=["plain", "other sizes", "untied head", "tied halves", "relative", "positions"],
)
def test_logits_are_the_originals(config: dict[str, Any], tmp_path: Path) -> None:
    original = save_tiny_halves(tmp_path, **config)
    head = load_head(HEAD, load_checkpoint(str(tmp_path)))
    ids, mask, _ = random_batch(90, (9, 1, 4))
    own, _, _ = random_batch(90, (5, 5, 5), seed=1)
    with torch.inference_mode():
        found = head(ids, mask, own, torch.ones_like(own))[0]
        expected = original(input_ids=ids, attention_mask=mask, decoder_input_ids=own).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_weights_of_pickle_are_read_too(tmp_path: Path) -> None:
    original = save_tiny_halves(tmp_path)
    tensors = load_checkpoint(str(tmp_path)).tensors
    (tmp_path / "model.safetensors").unlink()
    torch.save(original.state_dict(), tmp_path / "pytorch_model.bin")
    again = load_checkpoint(str(tmp_path)).tensors
    assert set(tensors) <= set(again)
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)


def test_the_decoders_steps_are_its_whole_rows(tmp_path: Path) -> None:
    save_tiny_halves(tmp_path)
    head = load_head(HEAD, load_checkpoint(str(tmp_path)))
    ids, mask, _ = random_batch(90, (9, 1, 4))
    own, _, _ = random_batch(90, (6, 6, 6), seed=1)
    with torch.inference_mode():
        whole = head(ids, mask, own, torch.ones_like(own))[0]  # (B, S, V)
        past: tuple[torch.Tensor, ...] = ()
        for step in range(own.size(1)):
            seen = torch.ones(3, step + 1, dtype=torch.int64)
            logits, *kept = head(ids, mask, own[:, step : step + 1], seen, *past)
            torch.testing.assert_close(logits[:, 0], whole[:, step], atol=1e-5, rtol=0)
            past = tuple(kept[:4])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"decoder": None}, "has no decoder: expected the decoder's config, an object, got none"),
        ({"encoder": {"model_type": "roberta"}}, "encoder of the encoder-decoder is no BERT"),
        ({"decoder": {"model_type": "gpt2"}}, "decoder of the encoder-decoder is no BERT.*gpt2"),
        ({"decoder": {"is_decoder": False}}, "has is_decoder false"),
        ({"decoder": {"add_cross_attention": False}}, "has add_cross_attention false"),
        ({"encoder": {"is_decoder": True}}, "encoder of the encoder-decoder has is_decoder true"),
        ({"decoder": {"cross_attention_hidden_size": 8}}, "cross_attention_hidden_size of its own"),
    ],
)
def test_halves_that_do_not_go_together_are_named(config: dict[str, Any], message: str) -> None:
    halves: dict[str, Any] = {
        "encoder": {"model_type": "bert"},
        "decoder": {"model_type": "bert", "is_decoder": True, "add_cross_attention": True},
    }
    raw = {
        half: None if half in config and config[half] is None else own | config.get(half, {})
        for half, own in halves.items()
    }
    with pytest.raises(ConfigError, match=message):
        BertConfig.from_dict({"model_type": "encoder-decoder", **raw})


def test_a_half_without_the_other_is_refused(tmp_path: Path) -> None:
    original = save_tiny_halves(tmp_path)
    original.decoder.save_pretrained(tmp_path / "decoder")
    alone = {"model_type": "bert", "add_cross_attention": True, "is_decoder": True}
    with pytest.raises(ConfigError, match="decoder is there without the encoder"):
        BertConfig.from_dict(alone)
    weights = original.state_dict()
    (tmp_path / "model.safetensors").unlink()
    for half, other in (("encoder", "decoder"), ("decoder", "encoder")):
        kept = {name: tensor for name, tensor in weights.items() if name.startswith(half)}
        torch.save(kept, tmp_path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=f"has a {half} without its {other}: expected"):
            load_checkpoint(str(tmp_path))
    torch.save(weights | {"adapter.weight": weights["decoder.cls.predictions.bias"]},
               tmp_path / "pytorch_model.bin")  # fmt: skip
    with pytest.raises(CheckpointError, match=r"tensor adapter\.weight is of neither half"):
        load_checkpoint(str(tmp_path))


def test_the_head_is_for_two_berts_alone(tmp_path: Path) -> None:
    save_tiny("BertForMaskedLM", tmp_path / "one")
    with pytest.raises(TaskError, match=r"expected an encoder-decoder.*got a single BERT"):
        load_head(HEAD, load_checkpoint(str(tmp_path / "one")))
    save_tiny_halves(tmp_path / "two")
    with pytest.raises(TaskError, match="expected a single BERT, got an encoder-decoder"):
        load_head("BertForMaskedLM", load_checkpoint(str(tmp_path / "two")))
