"""A model repository of NVIDIA's Triton; the server is not run here.

The Python backend answers from the bundle itself: strings in, the task's answers out as JSON, or
the vectors of a sentence embedding.
"""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

from bert_export.hand_over.answers import questions
from bert_export.hand_over.consumer import Bundle, Consumer, Written
from bert_export.tasks import ALL_TASKS, LIST_FIELDS, find_task
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["TRITON"]

_INSTANCES = 2
_MOST_ROWS = 64
_DELAY = 500
"""Microseconds that a request waits for others to share a batch with."""
_MODEL = Path(__file__).with_name("triton_model.py")


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    del opset  # the bundle's own graph answers
    version = folder / "bert" / "1"
    bundle.copy_to(version / "bundle")
    shutil.copyfile(_MODEL, version / "model.py")
    _write_warmup(bundle, folder / "bert" / "warmup")
    (folder / "bert" / "config.pbtxt").write_text("\n".join(_config(bundle)) + "\n", "utf-8")
    return Written(
        use=(f"tritonserver --model-repository=./{folder.name}",),
        notes=(
            "the server's Python needs: pip install bert-export",
            "the server itself is not run here: the configuration follows its published schema",
        ),
    )


def _write_warmup(bundle: Bundle, folder: Path) -> None:
    """A request that each instance answers before it is ready: per input a file of its strings."""
    folder.mkdir()
    for field, texts in _warmup(bundle).items():
        encoded = (text.encode() for text in texts)
        data = b"".join(struct.pack("<I", len(text)) + text for text in encoded)
        (folder / field.upper()).write_bytes(data)


def _warmup(bundle: Bundle) -> dict[str, list[str]]:
    first = questions(bundle)[0]
    record = first if isinstance(first, dict) else {"text": first}
    return {
        field: record[field] if field in LIST_FIELDS else [record[field]]
        for field in _fields(bundle)
    }


def _fields(bundle: Bundle) -> tuple[str, ...]:
    return find_task(bundle.manifest.task).input_fields


def _config(bundle: Bundle) -> Iterator[str]:
    """The lines of ``config.pbtxt``, protobuf's text format."""
    yield f'name: "bert"\nbackend: "python"\nmax_batch_size: {_MOST_ROWS}'
    for field in _fields(bundle):
        width = -1 if field in LIST_FIELDS else 1
        yield (
            f'input {{ name: "{field.upper()}" data_type: TYPE_STRING dims: [ {width} ]'
            f"{' allow_ragged_batch: true' if width < 0 else ''} }}"
        )
    if bundle.manifest.task == SENTENCE_EMBEDDING.name:
        yield f'output {{ name: "EMBEDDING" data_type: TYPE_FP32 dims: [ {bundle.width} ] }}'
    else:
        yield 'output { name: "ANSWER" data_type: TYPE_STRING dims: [ 1 ] }'
    yield f"instance_group {{ count: {_INSTANCES} kind: KIND_CPU }}"
    yield (
        f"dynamic_batching {{ preferred_batch_size: [ 8, {_MOST_ROWS} ] "
        f"max_queue_delay_microseconds: {_DELAY} }}"
    )
    warmup = " ".join(
        f'inputs {{ key: "{field.upper()}" value {{ data_type: TYPE_STRING '
        f'dims: [ {len(texts)} ] input_data_file: "{field.upper()}" }} }}'
        for field, texts in _warmup(bundle).items()
    )
    yield f'model_warmup {{ name: "text" batch_size: 1 {warmup} }}'
    yield 'parameters { key: "threads" value { string_value: "1" } }'


TRITON = Consumer(
    name="triton",
    tasks=ALL_TASKS,
    write=_write,
)
