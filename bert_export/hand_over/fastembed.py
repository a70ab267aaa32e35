"""fastembed: the pooled graph, its weights in a file beside it."""

from __future__ import annotations

from pathlib import Path

from bert_export.hand_over.answers import pipeline_answers
from bert_export.hand_over.consumer import Bundle, Consumer, Trial, Written
from bert_export.hand_over.graph_forms import DATA_SUFFIX, write_graph
from bert_export.hand_over.hugging_face_files import write_config, write_json, write_tokenizer
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["FASTEMBED"]

_PROGRAM = f"""
import json, sys, warnings
warnings.simplefilter("ignore")
from fastembed import TextEmbedding
from fastembed.common.model_description import ModelSource, PoolingType
folder, _, inputs = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
width = json.load(open(folder + "/embedding.json"))["dimension"]
TextEmbedding.add_custom_model(
    model="own/model", pooling=PoolingType.DISABLED, normalization=False,
    sources=ModelSource(hf="own/model"), dim=width, model_file="model.onnx",
    additional_files=["model.onnx{DATA_SUFFIX}"],
)
model = TextEmbedding("own/model", specific_model_path=folder)
print(json.dumps([vector.tolist() for vector in model.embed(inputs)]))
"""


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    write_config(bundle, folder)
    write_tokenizer(bundle, folder)
    graph = folder / "model.onnx"
    written = write_graph(bundle, graph, opset=opset, external_data=True)
    write_json(folder / "embedding.json", {"dimension": bundle.width})
    return Written(
        graph=graph,
        opset=written,
        use=(
            "TextEmbedding.add_custom_model(",
            "    model=NAME, pooling=PoolingType.DISABLED, normalization=False,",
            f"    sources=ModelSource(hf=NAME), dim={bundle.width},",
            f'    model_file="model.onnx", additional_files=["model.onnx{DATA_SUFFIX}"],',
            ")",
            f'model = TextEmbedding(NAME, specific_model_path="{folder.name}")',
        ),
    )


FASTEMBED = Consumer(
    name="fastembed",
    tasks=(SENTENCE_EMBEDDING.name,),
    write=_write,
    trial=Trial(("fastembed",), _PROGRAM),
    call=pipeline_answers,
)
