"""Encoder-decoders answer as transformers' pipelines do, token for token."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import bert_export
from bert_export.bundle import read_manifest
from bert_export.datasets import DataSet
from bert_export.errors import BundleError, InputError, TargetError, TaskError
from bert_export.evaluation.words import AnswerWordScorer
from bert_export.exporter import Export
from bert_export.runtime.pipelines.text2text_generation import TextToTextPipeline
from bert_export.runtime.sessions.encoder_decoder import EncoderDecoderSession, open_text_cache
from scripts.goldens.vectors.oracle import silence

TEXTS = [
    "the cat sat on the mat",
    "a dog runs",
    "new york, the cat and the dog",
    "cat",
    "the dog sat on a mat in new york",
]


@pytest.fixture(scope="module")
def pipeline(halves_export: Export) -> Iterator[TextToTextPipeline]:
    with bert_export.load(halves_export.path, threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def original(tiny_halves: Path) -> Callable[..., Any]:
    model = transformers.EncoderDecoderModel.from_pretrained(
        tiny_halves, attn_implementation="eager"
    )
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tiny_halves)

    def ask(task: str, inputs: Any, **options: Any) -> Any:
        with silence():
            return transformers.pipeline(task, model=model, tokenizer=tokenizer, device="cpu")(
                inputs, **options
            )

    return ask


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 1},
        {"num_beams": 3, "num_return_sequences": 2, "length_penalty": 2.0},
        {"num_beams": 2, "early_stopping": True, "max_new_tokens": 6, "repetition_penalty": 1.3},
        {"num_beams": 1, "min_length": 9, "no_repeat_ngram_size": 0},
    ],
)
def test_answers_are_the_originals(
    pipeline: TextToTextPipeline, original: Callable[..., Any], options: dict[str, Any]
) -> None:
    expected = original("summarization", TEXTS, **options)
    assert pipeline(TEXTS, **options) == expected
    if not options:  # however texts are batched, and in whatever shape they come
        assert pipeline(TEXTS, batch_size=1) == expected
        assert pipeline(TEXTS[0]) == original("summarization", TEXTS[0]) == expected[:1]
        assert [*pipeline(iter(TEXTS[:2]))] == [[answer] for answer in expected[:2]]


def test_openvino_answers_alike(halves_export: Export, original: Callable[..., Any]) -> None:
    options = {"num_beams": 3, "num_return_sequences": 2}
    with bert_export.load(halves_export.path, target="openvino", threads=1) as pipeline:
        assert pipeline(TEXTS, **options) == original("summarization", TEXTS, **options)
        own = np.full((1, 29), 7, np.int64)
        feeds = {"input_ids": own[:, :5], "attention_mask": np.ones((1, 5), np.int64)}
        with pytest.raises(InputError, match="longer than the model takes: expected at most 28"):
            pipeline.run(
                {**feeds, "decoder_input_ids": own, "decoder_attention_mask": np.ones_like(own)}
            )


def test_the_other_name_gives_the_other_key(
    halves_export: Export, original: Callable[..., Any]
) -> None:
    assert read_manifest(halves_export.path).task == "summarization"
    with bert_export.load(halves_export.path, task="text2text-generation") as pipeline:
        assert pipeline(TEXTS[1]) == original("text2text-generation", TEXTS[1])
        assert pipeline.ask({"text": TEXTS[1], "summary": "dogs"}) == pipeline(TEXTS[1])
    with pytest.raises(TaskError, match="text-generation does not fit the bundle"):
        bert_export.load(halves_export.path, task="text-generation")


def test_every_step_scores_as_the_original_and_a_text_is_encoded_once(
    pipeline: TextToTextPipeline, tiny_halves: Path
) -> None:
    model = transformers.EncoderDecoderModel.from_pretrained(
        tiny_halves, attn_implementation="eager"
    )
    tokenizer = transformers.BertTokenizerFast.from_pretrained(tiny_halves)
    text = tokenizer(TEXTS, padding=True, return_tensors="pt")
    own = torch.randint(5, 90, (len(TEXTS), 12), generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        expected = model(
            input_ids=text["input_ids"],
            attention_mask=text["attention_mask"],
            decoder_input_ids=own,
            use_cache=False,
        ).logits.numpy()  # (B, S, V)
    session = pipeline._session
    assert isinstance(session, EncoderDecoderSession)
    runs: list[int] = []
    encode = session._encoder.run

    def counted(feeds: Any) -> Any:
        runs.append(len(feeds["input_ids"]))
        return encode(feeds)

    session._encoder.run = counted  # type: ignore[method-assign]
    try:
        cache = open_text_cache(
            session, text["input_ids"].numpy(), text["attention_mask"].numpy(), own.size(1)
        )
        rows = np.arange(len(TEXTS))
        for step in range(own.size(1)):
            if step == 4:  # a text leaves, and another is continued twice
                chosen = np.array([3, 0, 0, 2])
                cache.select(chosen, 0)
                rows = chosen
            if step == 7:  # two of one text change places, and nothing else
                cache.select(np.array([0, 2, 1, 3]), 0)
            ids = own.numpy()[rows, step : step + 1]
            logits = cache.step(ids, np.ones((len(rows), step + 1), np.int64))
            np.testing.assert_allclose(logits, expected[rows, step], atol=1e-4)
        assert runs == [len(TEXTS)]
        runs.clear()
        pipeline(TEXTS[0], num_beams=3)
        assert runs == [1]
    finally:
        del session._encoder.run


def test_drawn_answers_are_repeatable(pipeline: TextToTextPipeline) -> None:
    options = {"do_sample": True, "num_beams": 1, "seed": 5, "num_return_sequences": 3}
    several = pipeline(TEXTS, **options)
    assert [len(answers) for answers in several] == [3] * len(TEXTS)
    assert pipeline(TEXTS[2], **options) == several[2]


@pytest.mark.parametrize("text", TEXTS[:3])
def test_pieces_make_the_answer(pipeline: TextToTextPipeline, text: str) -> None:
    options: dict[str, Any] = {"min_new_tokens": 11, "max_new_tokens": 12}
    pieces = list(pipeline.stream(text, **options))
    (answer,) = pipeline(text, num_beams=1, **options)
    assert "".join(pieces) == answer["summary_text"]
    assert all(pieces)
    assert len(pieces) > 3
    drawn: dict[str, Any] = {"do_sample": True, "seed": 5, "max_length": 9, "truncation": True}
    (answer,) = pipeline(text, num_beams=1, **drawn)
    assert "".join(pipeline.stream(text, **drawn)) == answer["summary_text"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_beams": 2}, "stream gives one text"),
        ({"max_new_token": 2}, "max_new_token means nothing to stream.*max_new_tokens"),
        ({"batch_size": 2}, "batch_size means nothing to stream"),
        ({"temperature": -1.0}, "temperature is out of range"),
    ],
)
def test_malformed_streams_say_it_at_once(
    pipeline: TextToTextPipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pipeline.stream("the cat", **options)


def test_long_text_is_refused_or_cut(
    pipeline: TextToTextPipeline, original: Callable[..., Any]
) -> None:
    long = " ".join(["the cat sat on the mat"] * 9)
    with pytest.raises(InputError, match=r"too long: expected at most 32 tokens.*truncation"):
        pipeline(long)
    assert pipeline(long, truncation=True) == original("summarization", long, truncation=True)


def test_an_answer_ends_with_the_decoders_positions(pipeline: TextToTextPipeline) -> None:
    settings = pipeline._settings(max_new_tokens=500)
    assert settings.max_new_tokens == 27
    assert pipeline(TEXTS[0], max_new_tokens=500, num_beams=1)[0]["summary_text"]
    assert pipeline._settings(max_length=9).max_new_tokens == 8
    assert pipeline._settings(min_length=4).decoding.min_new_tokens == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 1}, "max_length is"),
        ({"num_beams": 2, "do_sample": True}, "do_sample and num_beams do not go together"),
        ({"eos_token_id": 999}, "eos_token_id"),
        ({"min_length": -1}, "min_length is"),
        ({"truncation": "middle"}, "truncation is unknown"),
    ],
)
def test_options_out_of_range(
    pipeline: TextToTextPipeline, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        pipeline(TEXTS[0], **options)


def test_the_raw_graphs_check_what_they_are_given(pipeline: TextToTextPipeline) -> None:
    ids = np.full((2, 5), 7, np.int64)
    own = np.full((2, 3), 9, np.int64)
    feeds: dict[str, Any] = {
        "input_ids": ids,
        "attention_mask": np.ones_like(ids),
        "decoder_input_ids": own,
        "decoder_attention_mask": np.ones_like(own),
    }
    outputs = pipeline.run(feeds)
    assert outputs["logits"].shape == (2, 103)
    assert outputs["present.0.decoder.key"].shape == (2, 4, 3, 4)
    assert outputs["present.0.encoder.key"].shape == (2, 4, 4, 5)
    past = {
        name.replace("present", "past_key_values"): array
        for name, array in outputs.items()
        if ".decoder." in name
    }
    behind = {**feeds, "decoder_attention_mask": np.ones((2, 6), np.int64), **past}
    assert pipeline.run(behind)["present.1.decoder.value"].shape == (2, 4, 6, 4)
    name = "past_key_values.1.decoder.key"
    for wrong, message in (
        (feeds | {"decoder_attention_mask": np.ones((2, 4), np.int64)}, "does not fit the cache"),
        (behind | {name: past[name][:, :2]}, f"input {name} has the wrong shape: expected"),
        (behind | {name: past[name][:, :, :1]}, f"input {name} has the wrong shape"),
        (feeds | {"input_ids": np.full((2, 33), 7), "attention_mask": np.ones((2, 33), np.int64)},
         "rows are longer than the model takes: expected at most 32"),
        (feeds | {"decoder_input_ids": np.full((2, 29), 7),
                  "decoder_attention_mask": np.ones((2, 29), np.int64)},
         "rows are longer than the model takes: expected at most 28"),
        ({"input_ids": ids}, "feeds do not name the graph's inputs"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            pipeline.run(wrong)


def test_summaries_are_scored_word_by_word(pipeline: TextToTextPipeline, tiny_halves: Path) -> None:
    model = transformers.EncoderDecoderModel.from_pretrained(tiny_halves)
    pairs = [(text, TEXTS[index - 1]) for index, text in enumerate(TEXTS)] * 4
    rows = tuple({"text": text, "summary": summary} for text, summary in pairs)
    places = tuple(f"line {number}" for number in range(1, len(rows) + 1))
    data = DataSet("summaries.jsonl", "0" * 64, rows, places)
    examples = AnswerWordScorer("next-token accuracy").prepare(pipeline, data, 0)
    right = []
    for (row,), gold in zip(examples.rows, examples.gold or (), strict=True):
        taught = (row.extra or {})["decoder_input_ids"]
        with torch.inference_mode():
            logits = model(
                input_ids=torch.from_numpy(row.input_ids)[None],
                decoder_input_ids=torch.from_numpy(taught)[None],
                use_cache=False,
            ).logits[0, -1]
        right.append(int(logits.argmax()) == gold)
    scored = bert_export.evaluate(pipeline, data, against=pipeline)
    assert scored.scores["next-token accuracy"] == pytest.approx(sum(right) / len(right))
    assert scored.reference is not None
    assert scored.reference.agreement == pytest.approx(1.0)


def test_int8_agrees_on_both_halves(
    tiny_halves: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    done = bert_export.export(
        model=tiny_halves,
        output=tmp_path_factory.mktemp("bundle") / "int8",
        precision="int8",
    )
    assert done.manifest.task == "text2text-generation"
    engine = done.manifest.engine()
    assert engine.quantization is not None
    layers = {layer.layer: layer.precision for layer in engine.quantization.layers}
    tables = {name for name, precision in layers.items() if precision != "int8"}
    assert tables == {
        "encoder.embeddings.word_embeddings",
        "decoder.bert.embeddings.word_embeddings",
    }
    for name in (
        "encoder.encoder.layer.0.attention.self.query",
        "enc_to_dec_proj",
        "decoder.bert.encoder.layer.1.attention.self.key",
        "decoder.bert.encoder.layer.1.crossattention.self.value",
        "decoder.cls.predictions.decoder",
    ):
        assert layers[name] == "int8"
    assert engine.parity is not None
    assert engine.parity.agreement >= 0.9
    with bert_export.load(done.path) as pipeline:
        assert [list(answer) for answer in pipeline(TEXTS)] == [["generated_text"]] * len(TEXTS)


def test_targets_of_one_graph_are_refused_by_name(tiny_halves: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="target tensorrt-rtx does not take text2text-generation"):
        bert_export.export(
            model=tiny_halves, output=tmp_path / "out", targets="tensorrt-rtx", precision="fp16"
        )
    assert not (tmp_path / "out").exists()


def test_a_bundle_without_its_encoder_does_not_open(halves_export: Export, tmp_path: Path) -> None:
    for path in halves_export.path.iterdir():
        if path.name != "onnxruntime-encoder.onnx":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(BundleError, match=r"onnxruntime-encoder\.onnx"):
        bert_export.load(tmp_path)
