"""Everything that the benchmarks time: bundles, graphs of other tools, PyTorch, pipelines.

The file is a worker of ``bert_export/measuring/serving.py`` and stands alone: it runs in the
environments of other tools, and libraries are imported by what opens them, so that a first answer
is measured with nothing else around it.

``open_contender`` is given ``kind``, a key of :data:`OPENERS`, ``path``, ``threads``, and what the
opener's docstring names. A contender runs a graph (``run``: feeds by name to outputs by name), or
answers texts (``answer``), or both.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
    Arrays = Mapping[str, Array]

__all__ = ["OPENERS", "Contender", "keep", "open_contender", "pool"]

Request = Mapping[str, Any]

_INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_OUTPUTS = ("last_hidden_state", "logits", "sentence_embedding")
_MASKS = "masks"  # where feeds keep the places of masks; no graph's input
_MODELS = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "text-classification": "AutoModelForSequenceClassification",
}
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Contender:
    """An opened contender.

    Args:
        run: Runs the graph; ``None`` where only texts are answered.
        inputs: Names of the arrays that it takes.
        answer: Texts to their answers, tokenization included; ``None`` without a tokenizer.
        given: Names of the arrays that stand in for inputs, by input.
    """

    run: Callable[[dict[str, Array]], Mapping[str, Array]] | None = None
    inputs: Sequence[str] = _INPUTS
    answer: Callable[[list[str]], Any] | None = field(default=None)
    given: Mapping[str, str] = field(default_factory=dict)

    def calls(self, request: Request) -> list[Callable[[], object]]:
        """What one pass over a workload runs.

        Args:
            request: ``feeds``, an ``.npz`` file of arrays by name, for one call of the graph;
                ``batches``, a file of several, for a call of each; or ``texts``, a JSON list, and
                how many of them ``each`` call answers.
        """
        if "texts" in request:
            if self.answer is None:
                raise LookupError("it has no tokenizer")
            texts, each = read_texts(request["texts"]), request["each"]
            answer = self.answer
            slices = [texts[start : start + each] for start in range(0, len(texts), each)]
            return [lambda part=part: answer(part) for part in slices]  # type: ignore[misc]
        if "batches" in request:
            batches = read_batches(request["batches"])
        else:
            batches = [read_arrays(request["feeds"])]
        run = self._graph
        feeds = [self._taken(arrays) for arrays in batches]
        return [lambda own=own: run(own) for own in feeds]  # type: ignore[misc]

    def first_answer(self, request: Request) -> dict[str, Any]:
        """Answer the ``text``, or run the first batch of ``batches``."""
        if "text" in request and self.answer is not None:
            return {"answer": str(self.answer([request["text"]]))[:200]}
        self._graph(self._taken(read_batches(request["batches"])[0]))
        return {}

    def save_outputs(self, request: Request) -> dict[str, Any]:
        """Keep what the graph makes of ``feeds`` in the file ``outputs``; see :func:`keep`."""
        import numpy as np

        arrays = read_arrays(request["feeds"])
        np.savez(request["outputs"], **keep(self._graph(self._taken(arrays)), arrays))
        return {}

    def save_vectors(self, request: Request) -> dict[str, Any]:
        """Keep the vectors of all rows of ``batches`` in the file ``vectors``; see :func:`pool`."""
        import numpy as np

        vectors = [
            pool(next(iter(self._graph(self._taken(arrays)).values())), arrays["attention_mask"])
            for arrays in read_batches(request["batches"])
        ]
        np.save(request["vectors"], np.concatenate(vectors).astype(np.float32))
        return {}

    def save_answers(self, request: Request) -> dict[str, Any]:
        """Keep the answers to all ``texts`` in the file ``answers``: vectors, or JSON."""
        import numpy as np

        if self.answer is None:
            raise LookupError("it has no tokenizer")
        answers = self.answer(read_texts(request["texts"]))
        path = Path(request["answers"])
        if isinstance(answers, np.ndarray):
            with path.open("wb") as file:
                np.save(file, answers.astype(np.float32))
        else:
            path.write_text(json.dumps(answers, default=float), encoding="utf-8")
        return {}

    @property
    def _graph(self) -> Callable[[dict[str, Array]], Mapping[str, Array]]:
        if self.run is None:
            raise LookupError("it answers texts alone")
        return self.run

    def _taken(self, arrays: Arrays) -> dict[str, Array]:
        held = dict(arrays)
        held.setdefault("pooling_mask", arrays["attention_mask"])
        return {name: held[self.given.get(name, name)] for name in self.inputs}


def open_contender(request: Request) -> Contender:
    """Open what the request asks for."""
    return OPENERS[request["kind"]](request)


def open_bundle(request: Request) -> Contender:
    """Our bundle as a service loads it.

    Args:
        request: ``target``; ``shapes`` that OpenVINO compiles, or null; ``sort``, whether texts are
            sorted by length; ``options`` of a call; ``given``, arrays that stand in for inputs. The
            last four may be left out.
    """
    from bert_export import load

    options = {} if request.get("shapes") is None else {"shapes": request["shapes"]}
    pipeline = load(
        request["path"],
        target=request["target"],
        threads=request["threads"],
        sort=request.get("sort", True),
        **options,
    )
    engine = pipeline.manifest.engine(request["target"])
    call = request.get("options", {})
    return Contender(
        pipeline.run,
        [spec.name for spec in engine.graph.inputs],
        lambda texts: pipeline(texts, **call),
        request.get("given", {}),
    )


def open_onnxruntime(request: Request) -> Contender:
    """An ONNX file with ONNX Runtime's own settings."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        request["path"], options, providers=["CPUExecutionProvider"]
    )
    outputs = [node.name for node in session.get_outputs()]

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        return dict(zip(outputs, session.run(outputs, feeds), strict=True))

    return Contender(run, [node.name for node in session.get_inputs()])


def open_bare(request: Request) -> Contender:
    """The least script that runs a bundle's graph on a text: raw outputs, nothing checked.

    Args:
        request: ``graph`` and ``tokenizer``, files in the folder ``path``.
    """
    import numpy as np
    import onnxruntime
    from tokenizers import Tokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request["threads"]
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(
        f"{request['path']}/{request['graph']}", options, providers=["CPUExecutionProvider"]
    )
    tokenizer = Tokenizer.from_file(f"{request['path']}/{request['tokenizer']}")
    names = [node.name for node in session.get_inputs()]

    def answer(texts: list[str]) -> Any:
        (text,) = texts
        encoding = tokenizer.encode(text)
        columns = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": encoding.type_ids,
        }
        return session.run(None, {name: np.array([columns[name]], np.int64) for name in names})

    return Contender(answer=answer)


def open_openvino(request: Request) -> Contender:
    """An ONNX file or OpenVINO's own format, for latency; all else as OpenVINO chooses.

    Args:
        request: ``precision`` that it is told, or null; ``shapes`` that it is compiled for, or null
            for any shape. Both may be left out.
    """
    import openvino

    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": request["threads"],
    }
    if request.get("precision") is not None:
        options["INFERENCE_PRECISION_HINT"] = request["precision"]
    core = openvino.Core()
    model = core.read_model(request["path"])
    names = [port.get_any_name() for port in model.inputs]

    def compiled(shape: Sequence[int] | None) -> Callable[[dict[str, Array]], dict[str, Array]]:
        form = model.clone()
        if shape is not None:
            form.reshape({name: list(shape) for name in names})
        inference = core.compile_model(form, "CPU", options).create_infer_request()
        ports = [(port.get_any_name(), port) for port in inference.model_outputs]

        def run(feeds: dict[str, Array]) -> dict[str, Array]:
            results = inference.infer(feeds, share_inputs=True)
            return {name: results[port].copy() for name, port in ports}

        return run

    shapes = request.get("shapes")
    if shapes is None:
        return Contender(compiled(None), names)
    engines = {tuple(shape): compiled(shape) for shape in shapes}
    return Contender(lambda feeds: engines[feeds["input_ids"].shape](feeds), names)


def open_transformers(request: Request) -> Contender:
    """The original in PyTorch, and its tokenizer in batches of 32 as they come.

    Args:
        request: ``task``; ``precision`` such as ``float32``; whether it is ``compiled``, which may
            be left out.
    """
    import torch
    import transformers

    torch.set_num_threads(request["threads"])
    loader = getattr(transformers, _MODELS[request["task"]])
    dtype = getattr(torch, request["precision"])
    loaded = loader.from_pretrained(request["path"], dtype=dtype).eval()
    model = torch.compile(loaded, dynamic=True) if request.get("compiled") else loaded
    tokenizer: Any = None

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            outputs = model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        return {name: outputs[name].float().numpy() for name in _OUTPUTS if name in outputs}

    def embed(texts: list[str]) -> Any:
        nonlocal tokenizer
        import numpy as np

        if tokenizer is None:
            tokenizer = transformers.AutoTokenizer.from_pretrained(request["path"])  # type: ignore[no-untyped-call]
        vectors = []
        for start in range(0, len(texts), _BATCH):
            batch = tokenizer(
                texts[start : start + _BATCH], padding=True, truncation=True, return_tensors="np"
            )
            states = run({name: batch[name] for name in _INPUTS})["last_hidden_state"]
            vectors.append(pool(states, batch["attention_mask"]))
        return np.concatenate(vectors)

    return Contender(run, _INPUTS, embed if request["task"] == "feature-extraction" else None)


def open_transformers_pipeline(request: Request) -> Contender:
    """The upstream pipeline.

    Args:
        request: ``task``; ``batch_size``; ``options`` of a call.
    """
    import torch
    from transformers import pipeline

    torch.set_num_threads(request["threads"])
    answer = pipeline(
        request["task"], model=request["path"], device="cpu", batch_size=request["batch_size"]
    )
    return Contender(answer=lambda texts: answer(texts, **request["options"]))


def open_sentence_transformers(request: Request) -> Contender:
    """What embeds sentences upstream; it sorts by length and pools by itself.

    Args:
        request: ``precision`` such as ``float32``; ``batch_size``, which may be left out.
    """
    import torch
    from sentence_transformers import SentenceTransformer

    torch.set_num_threads(request["threads"])
    model = SentenceTransformer(request["path"], device="cpu")
    model.to(getattr(torch, request["precision"]))
    size = request.get("batch_size", _BATCH)

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            tensors = {name: torch.from_numpy(array) for name, array in feeds.items()}
            return {"sentence_embedding": model(tensors)["sentence_embedding"].float().numpy()}

    return Contender(
        run,
        _INPUTS,
        lambda texts: model.encode(texts, batch_size=size, show_progress_bar=False),
    )


def open_ctranslate2(request: Request) -> Contender:
    """CTranslate2's encoder; it takes ids and lengths."""
    import ctranslate2
    import numpy as np

    encoder = ctranslate2.Encoder(
        request["path"], device="cpu", compute_type="int8", intra_threads=request["threads"]
    )

    def run(feeds: dict[str, Array]) -> dict[str, Array]:
        ids = ctranslate2.StorageView.from_array(feeds["input_ids"].astype(np.int32))
        sizes = feeds["attention_mask"].sum(axis=1).astype(np.int32)
        lengths = ctranslate2.StorageView.from_array(sizes)
        states: Array = np.array(encoder.forward_batch(ids, lengths).last_hidden_state)
        return {"last_hidden_state": states}

    return Contender(run)


OPENERS: Mapping[str, Callable[[Request], Contender]] = {
    "bundle": open_bundle,
    "onnxruntime": open_onnxruntime,
    "onnxruntime and tokenizers": open_bare,
    "openvino": open_openvino,
    "transformers": open_transformers,
    "transformers pipeline": open_transformers_pipeline,
    "sentence-transformers": open_sentence_transformers,
    "ctranslate2": open_ctranslate2,
}


def keep(outputs: Arrays, arrays: Arrays) -> dict[str, Any]:
    """What is compared: outputs without padding, and of a row with masks only those places.

    Args:
        outputs: Of a graph.
        arrays: The feeds, with the places of masks, bool (B, S).
    """
    masks = arrays[_MASKS]  # (B, S)
    places = masks if masks.any() else arrays["attention_mask"].astype(bool)
    compared: dict[str, Any] = {}
    for name, array in outputs.items():
        if name in _OUTPUTS:
            per_token = array.shape[:2] == places.shape and array.ndim > places.ndim
            compared[name] = array[places] if per_token else array.reshape(-1, array.shape[-1])
    return compared


def pool(states: Array, mask: Array) -> Array:
    """Vectors (B, H) of length 1; what is pooled already keeps its direction.

    Args:
        states: float (B, S, H) or (B, H).
        mask: int (B, S).
    """
    import numpy as np

    weights = mask[..., None].astype(np.float32)  # (B, S, 1)
    vectors = states if states.ndim == 2 else (states * weights).sum(axis=1)
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    pooled: Array = vectors / np.maximum(norms, 1e-12)
    return pooled


def read_texts(file: str) -> list[str]:
    """A JSON list of texts."""
    texts: list[str] = json.loads(Path(file).read_text(encoding="utf-8"))
    return texts


def read_arrays(file: str) -> dict[str, Any]:
    """The arrays of an ``.npz`` file."""
    import numpy as np

    with np.load(file) as stored:
        return dict(stored)


def read_batches(file: str) -> list[dict[str, Any]]:
    """The batches of a file whose arrays are called ``input_ids.0``, ``input_ids.1``, ..."""
    arrays = read_arrays(file)
    count = len(arrays) // len(_INPUTS)
    return [{name: arrays[f"{name}.{index}"] for name in _INPUTS} for index in range(count)]
