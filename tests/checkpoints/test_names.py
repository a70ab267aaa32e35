"""Tables of names: what TensorFlow and Flax wrote maps onto the original's names, and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from torch import Tensor

from bert_export.checkpoints import flax, tensorflow_h5, tensorflow_v1
from bert_export.checkpoints.huggingface import canonical_name
from bert_export.checkpoints.names import NameTable
from bert_export.errors import CheckpointError
from tests.checkpoints.foreign import flax_arrays, tensorflow_h5_arrays, tensorflow_v1_arrays
from tests.oracle import save_tiny

# Names as the frameworks themselves wrote them, of the first layer and of every head.
RECORDED = json.loads(Path(__file__).with_name("foreign_names.json").read_text())
TABLES = {
    "bert_model.ckpt": (tensorflow_v1.NAMES, str),
    "tf_model.h5": (tensorflow_h5.NAMES, tensorflow_h5.own_name),
    "flax_model.msgpack": (flax.NAMES, flax.own_name),
}
WRITERS = {
    "bert_model.ckpt": tensorflow_v1_arrays,
    "tf_model.h5": tensorflow_h5_arrays,
    "flax_model.msgpack": flax_arrays,
}
CASES = [(kind, head) for kind, heads in RECORDED.items() for head in heads]


def _state(head: str) -> dict[str, torch.Size]:
    """Shapes by canonical name, of a model with one layer and no two sizes alike."""
    config = transformers.BertConfig(
        vocab_size=11, hidden_size=6, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=7, max_position_embeddings=9, num_labels=3,
    )  # fmt: skip
    with torch.device("meta"):
        state = getattr(transformers, head)(config).state_dict()
    return {canonical_name(name): tensor.shape for name, tensor in state.items()}


@pytest.mark.parametrize(("kind", "head"), CASES)
def test_what_the_framework_wrote_is_named_as_the_original_names_it(kind: str, head: str) -> None:
    table, own_name = TABLES[kind]
    recorded = RECORDED[kind][head]
    rows = {theirs: table.to_ours(own_name(theirs)) for theirs in recorded}
    assert None not in rows.values(), [theirs for theirs, row in rows.items() if row is None]
    ours = {row.ours for row in rows.values() if row is not None}
    state = _state(head)
    assert ours <= state.keys()
    tied = {name for name in state if name.startswith("cls.predictions.decoder")}
    if head in ("BertForPreTraining", "BertModel") and len(recorded) > 20:
        assert ours == state.keys() - tied
    else:
        outside = {name for name in state if not name.startswith("bert.")} - tied
        assert {name for name in ours if not name.startswith("bert.")} == outside
    for theirs, row in rows.items():
        assert row is not None
        assert row.transposed == own_name(theirs).endswith("kernel"), theirs


@pytest.mark.parametrize("kind", TABLES)
def test_every_row_makes_the_round_trip(kind: str) -> None:
    table, _ = TABLES[kind]
    assert len({row.ours for row in table.rows}) == len(table.rows)
    assert len({row.theirs for row in table.rows}) == len(table.rows)
    for row in table.rows:
        for layer in ("0", "7", "23"):
            ours, theirs = (name.replace("{layer}", layer) for name in (row.ours, row.theirs))
            there, back = table.to_theirs(ours), table.to_ours(theirs)
            assert there is not None
            assert back is not None
            assert (there.theirs, back.ours) == (theirs, ours)
            assert there.transposed == back.transposed == row.transposed


@pytest.mark.parametrize("kind", TABLES)
def test_all_tables_hold_the_same_tensors(kind: str) -> None:
    ours = {row.ours for row in TABLES[kind][0].rows}
    first = {row.ours for row in TABLES["bert_model.ckpt"][0].rows}
    # Flax alone keeps a decoder that is not tied.
    assert ours - {"cls.predictions.decoder.weight"} == first


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize(
    "head",
    [
        "BertModel", "BertForPreTraining", "BertForTokenClassification", "BertForQuestionAnswering",
    ],
)  # fmt: skip
def test_renaming_gives_the_original_s_state(tmp_path: Path, kind: str, head: str) -> None:
    model = save_tiny(head, tmp_path, num_labels=3)
    table, own_name = TABLES[kind]
    theirs = {
        own_name(name): torch.from_numpy(array) for name, array in WRITERS[kind](model).items()
    }
    renamed = table.rename(theirs.items(), "checkpoint")
    state = {canonical_name(name): tensor for name, tensor in model.state_dict().items()}
    expected = {
        name: tensor
        for name, tensor in state.items()
        if not name.startswith("cls.predictions.decoder")
    }
    assert renamed.keys() == expected.keys()
    assert all(torch.equal(renamed[name], tensor) for name, tensor in expected.items())
    assert all(tensor.is_contiguous() for tensor in renamed.values())


@pytest.mark.parametrize(
    "name",
    ["bert/encoder/layer_01/output/dense/bias", "bert/encoder/layer_²/output/dense/bias",
     "bert/encoder/layer_/output/dense/bias", "bert/encoder/layer_99999/output/dense/bias",
     "xbert/pooler/dense/bias", "bert/pooler/dense/bias\n", "electra/pooler/dense/bias"],
)  # fmt: skip
def test_near_misses_are_no_names(name: str) -> None:
    assert tensorflow_v1.NAMES.to_ours(name) is None
    with pytest.raises(CheckpointError, match="is not of a BERT encoder or head") as caught:
        tensorflow_v1.NAMES.rename([(name, torch.zeros(2))], "TensorFlow checkpoint x")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ([("a.kernel", torch.zeros(3)), ("a.bias", torch.zeros(3))], "wrong shape: expected a mat"),
        ([("a.bias", torch.zeros(3)), ("a.bias", torch.zeros(3))], "ours.bias is stored twice"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    tensors: list[tuple[str, Tensor]], message: str
) -> None:
    table = NameTable("ours = a\n    weight  kernel  T\n    bias    bias")
    with pytest.raises(CheckpointError, match=message):
        table.rename(tensors, "checkpoint x")
