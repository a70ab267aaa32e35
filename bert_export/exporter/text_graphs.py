"""Graphs that take texts, beside those that take ids: made, compared, and written or nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx_ir as ir
import tokenizers
from numpy.typing import NDArray

from bert_export.bundle import EngineRecord, Manifest, TextCheckRecord, TextGraphRecord
from bert_export.datasets.samples import find_sample, sample_names
from bert_export.errors import VerificationError, shown
from bert_export.exporter.manifest_records import graph_record
from bert_export.exporter.progress import Progress
from bert_export.exporter.request import find_form
from bert_export.regular_files import read_regular_text
from bert_export.runtime.sessions import open_session, open_text_session
from bert_export.targets import TARGETS
from bert_export.targets.weights import WeightStore
from bert_export.tasks import find_task
from bert_export.tasks.interface import MASKED_POSITIONS, TEXT, TEXT_PAIR, TextForm
from bert_export.text_input.check import Compared, check_tokenizer, hostile_texts
from bert_export.text_input.graph import TokenizerPlan
from bert_export.text_input.model import MOST_BYTES, put_tokenizer
from bert_export.text_input.plan import make_plan

__all__ = ["plan_texts", "write_text_graphs"]

_SEED = 0
_TEXTS = (
    "Hello [MASK].",
    "\u4e2d\u6587 caf\u00e9",
    "",
    "The harbour froze twice that winter, [MASK] the ships stayed where they were.",
    "don't (stop) 3.5%",
)
_PER_SAMPLE = 10
"""Records of a demonstration's sample whose texts are compared."""

_TRIED, _SHORT, _TOGETHER = 40, 12, 3
"""Texts that are tried, characters that they are shorter than, and rows of a batch: a session runs
larger batches in pieces."""


def write_text_graphs(
    folder: Path,
    manifest: Manifest,
    engines: Sequence[EngineRecord],
    *,
    progress: Progress,
) -> tuple[EngineRecord, ...]:
    """Write a graph that takes texts for every engine that can have one.

    Args:
        folder: Of the bundle, with the engines' graphs and weights.
        manifest: Whose task, tokenizer and request they have.
        engines: The bundle's entries; those that have such a graph, or whose targets have none,
            come back as they are.
        progress: Hears of the stage ``text``.

    Returns:
        The entries, each with its text graph.

    Raises:
        TokenizerError: The tokenizer has no exact form in a graph.
        TargetError: A graph has an input that no text says.
        VerificationError: One id, mask, type, offset or output differs.
    """
    if not any(_lacks_texts(engine) for engine in engines):
        return tuple(engines)
    task = find_task(manifest.task)
    assert manifest.request is not None, "whoever asks for text graphs has a request"
    form = find_form(task, manifest.request.text_input)
    assert form is not None, "the request asks for them"
    with progress.stage("text") as facts:
        plan = plan_texts(folder, manifest)
        text = _tokenizer_text(folder, manifest)
        compared = check_tokenizer(
            plan,
            text,
            pairs=form != "single",
            texts=(*_TEXTS, *_sample_texts()),
            seed=_SEED,
        )
        facts["characters"] = compared.code_points
        facts["texts"] = compared.texts + compared.hostile + compared.pairs
        library = tokenizers.Tokenizer.from_str(text)
        mask_id = library.token_to_id(manifest.tokenizer.mask_token)
        records = []
        written = [file for engine in engines for file in engine.graph_files]
        with WeightStore(folder, graphs=written) as store:
            for engine in engines:
                if not _lacks_texts(engine):
                    records.append(engine)
                    continue
                target = TARGETS[engine.target]
                model = ir.load(folder / engine.graph.file)
                put_tokenizer(model, plan, form=form, mask_id=mask_id)
                store.save(model, target.text_graph_file)
                graph = graph_record(model, target.text_graph_file, model.graph.opset_imports[""])
                record = TextGraphRecord(form=form, graph=graph, check=_check_record(compared, 0))
                engine = msgspec.structs.replace(engine, text=record)
                answered = _compare_outputs(folder, manifest, engine, library)
                record = msgspec.structs.replace(record, check=_check_record(compared, answered))
                records.append(msgspec.structs.replace(engine, text=record))
    return tuple(records)


def plan_texts(folder: Path, manifest: Manifest) -> TokenizerPlan:
    """The plan of a bundle's tokenizer in a graph; it is kept for whoever asks again.

    Args:
        folder: Of the bundle, with the tokenizer.
        manifest: What it says of it and of the task.

    Raises:
        TokenizerError: The tokenizer has no exact form in a graph.
    """
    offsets = find_task(manifest.task).text_offsets
    return make_plan(_tokenizer_text(folder, manifest), manifest.tokenizer, offsets=offsets)


def _tokenizer_text(folder: Path, manifest: Manifest) -> str:
    return read_regular_text(folder / manifest.tokenizer.file, most=MOST_BYTES)


def _sample_texts() -> Iterator[str]:
    """Real texts: the first of each demonstration's sample."""
    for name in sample_names():
        path = find_sample(name)
        assert path is not None, "the name is a sample's"
        for line in path.read_text(encoding="utf-8").splitlines()[:_PER_SAMPLE]:
            yield from (value for value in json.loads(line).values() if isinstance(value, str))


def _lacks_texts(engine: EngineRecord) -> bool:
    return engine.text is None and TARGETS[engine.target].text_session is not None


def _check_record(compared: Compared, answered: int) -> TextCheckRecord:
    return TextCheckRecord(
        library=f"tokenizers {tokenizers.__version__}",
        max_lengths=compared.max_lengths,
        code_points=compared.code_points,
        texts=compared.texts,
        hostile=compared.hostile,
        pairs=compared.pairs,
        seed=_SEED,
        answered=answered,
    )


def _compare_outputs(
    folder: Path, manifest: Manifest, engine: EngineRecord, library: tokenizers.Tokenizer
) -> int:
    """Compare outputs with those of the engine's own graph on the library's ids, bit for bit.

    Returns:
        How many rows were compared.

    Raises:
        VerificationError: An output differs.
    """
    assert engine.text is not None, "it was just made"
    short = (text for text in hostile_texts(_TRIED, seed=_SEED) if len(text) < _SHORT)
    texts = [*_TEXTS, *short]
    count = 0
    with open_session(folder, engine) as session, open_text_session(folder, engine) as reader:
        for start in range(0, len(texts), _TOGETHER):
            batch = texts[start : start + _TOGETHER]
            feeds = _text_feeds(batch, engine.text.form)
            made, expected = reader.run(feeds), session.run(_ids(feeds, manifest, engine, library))
            for name, array in expected.items():
                if made[name].shape != array.shape or made[name].tobytes() != array.tobytes():
                    raise VerificationError(
                        f"graph {engine.text.graph.file} answers {shown(batch[0])} differently",
                        expected=f"the {name} of {engine.graph.file}",
                        got="others",
                        fix="Export without --text-input",
                    )
            count += len(batch)
    return count


def _text_feeds(texts: Sequence[str], form: TextForm) -> dict[str, NDArray[Any]]:
    """Inputs of a graph that takes texts; second texts are the first in another order."""
    feeds = {TEXT: np.array(texts, object)}
    if form == "pair":
        feeds[TEXT_PAIR] = np.array(texts[::-1], object)
    elif form == "choices":
        feeds[TEXT_PAIR] = np.array([[text, text[::-1]] for text in texts], object)
    return feeds


def _ids(
    feeds: Mapping[str, NDArray[Any]],
    manifest: Manifest,
    engine: EngineRecord,
    library: tokenizers.Tokenizer,
) -> dict[str, NDArray[Any]]:
    """The inputs of the graph that takes ids, as the library makes them."""
    record = manifest.tokenizer
    library.enable_truncation(record.max_length)
    library.enable_padding(pad_id=library.token_to_id(record.pad_token))
    texts, others = feeds[TEXT], feeds.get(TEXT_PAIR)
    rows: list[Any] = list(texts)
    if others is not None:
        texts = np.broadcast_to(texts.reshape(-1, *[1] * (others.ndim - 1)), others.shape)
        rows = list(zip(texts.ravel(), others.ravel(), strict=True))
    encodings = library.encode_batch(rows)
    shape = (*texts.shape, -1)
    types = [encoding.type_ids for encoding in encodings]
    ids = {
        "input_ids": np.array([encoding.ids for encoding in encodings]).reshape(shape),
        "attention_mask": np.array([e.attention_mask for e in encodings]).reshape(shape),
        "token_type_ids": np.array(types).reshape(shape) * int(record.token_types),
    }
    if any(spec.name == MASKED_POSITIONS for spec in engine.graph.inputs):
        masks = ids["input_ids"].ravel() == library.token_to_id(record.mask_token)
        ids[MASKED_POSITIONS] = np.flatnonzero(masks)
    return ids
