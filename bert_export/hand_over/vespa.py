"""Vespa's ``hugging-face-embedder``; the server is not run here."""

from __future__ import annotations

from pathlib import Path
from xml.sax.saxutils import quoteattr

from bert_export.hand_over.consumer import Bundle, Consumer, Written
from bert_export.hand_over.graph_forms import write_graph
from bert_export.hand_over.hugging_face_files import write_tokenizer
from bert_export.tasks.sentence_embedding import TASK as SENTENCE_EMBEDDING

__all__ = ["VESPA"]


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    write_tokenizer(bundle, folder)
    graph = folder / "model.onnx"
    written = write_graph(bundle, graph, opset=opset, external_data=False, states=True)
    (folder / "component.xml").write_text(_component(bundle), encoding="utf-8")
    return Written(
        graph=graph,
        opset=written,
        use=(
            "model.onnx and tokenizer.json go into the application's models/,",
            "component.xml into the container of its services.xml",
            f"field embedding type tensor<float>(x[{bundle.width}])",
        ),
        notes=("the server itself is not run here: its files are what its documentation asks for",),
    )


def _component(bundle: Bundle) -> str:
    own = bundle.manifest.postprocessing
    prompts = own.get("prompts", {})
    prepend = [
        f"    <{kind}>{_text(prompts[kind])}</{kind}>"
        for kind in ("query", "document")
        if prompts.get(kind)
    ]
    lines = [
        '<component id="embedder" type="hugging-face-embedder">',
        '  <transformer-model path="models/model.onnx"/>',
        '  <tokenizer-model path="models/tokenizer.json"/>',
        f"  <max-tokens>{bundle.manifest.tokenizer.max_length}</max-tokens>",
        "  <transformer-output>last_hidden_state</transformer-output>",
        "  <pooling-strategy>cls</pooling-strategy>",
        "  <normalize>false</normalize>",
        *(["  <prepend>", *prepend, "  </prepend>"] if prepend else []),
        "</component>",
    ]
    return "\n".join(lines) + "\n"


def _text(words: str) -> str:
    return quoteattr(words)[1:-1]


VESPA = Consumer(
    name="vespa",
    tasks=(SENTENCE_EMBEDDING.name,),
    write=_write,
)
