"""The same file in onnxruntime-node; ``NODE_PATH`` names the folder of its modules."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from bert_export.text_input.model import tokenizer_model
from tests.text_input.examples import NAMED, UNCASED, plan_of

SCRIPT = """
const ort = require("onnxruntime-node");
const texts = JSON.parse(require("fs").readFileSync(0, "utf8"));
(async () => {
  const session = await ort.InferenceSession.create(process.argv[1]);
  const text = new ort.Tensor("string", texts, [texts.length]);
  const { input_ids, offsets } = await session.run({ text });
  const plain = (tensor) => [tensor.dims, Array.from(tensor.data, Number)];
  console.log(JSON.stringify([plain(input_ids), plain(offsets)]));
})();
"""


def test_ids_and_offsets_are_those_of_python(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node is not installed")
    found = subprocess.run(
        [node, "-e", 'require("onnxruntime-node")'], check=False, capture_output=True
    )
    if found.returncode:
        pytest.skip("onnxruntime-node is not installed where NODE_PATH says")
    path = tmp_path / "tokenizer.onnx"
    ir.save(tokenizer_model(plan_of(UNCASED), pairs=False), path)
    session = onnxruntime.InferenceSession(path)
    names = ["input_ids", "offsets"]
    texts = [text for text in NAMED if "\0" not in text]  # Node's binding ends a string there
    assert len(texts) == len(NAMED) - 1
    expected = session.run(names, {"text": np.array(texts, object)})
    done = subprocess.run(
        [node, "-e", SCRIPT, str(path)],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
    )
    for (shape, values), array in zip(json.loads(done.stdout), expected, strict=True):
        assert tuple(shape) == array.shape
        assert values == array.ravel().tolist()
