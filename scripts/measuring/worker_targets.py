"""Times a contender at several shapes: a bundle's engine, a graph in an engine, or PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from measuring.child import read_request, send, threads
from measuring.worker_graphs import Arrays, Run, keep, open_graph, time_runs

Opened = tuple[list[str], Run]

_MODELS = {
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "text-classification": "AutoModelForSequenceClassification",
}
_OUTPUTS = ("last_hidden_state", "logits")


def open_bundle(request: Mapping[str, Any]) -> Opened:
    """Our engine as a service runs it, checks of its inputs included."""
    from bert_export import load

    options = {"shapes": request["shapes"]} if request["fixed"] else {}
    pipeline = load(
        request["path"], target=request["target"], threads=threads(), verify=False, **options
    )
    engine = pipeline.manifest.engine(request["target"])
    return [spec.name for spec in engine.graph.inputs], pipeline.run


def open_onnxruntime(request: Mapping[str, Any]) -> Opened:
    """An ONNX file with ONNX Runtime's own settings."""
    names, run, _ = open_graph(request["path"])
    return names, run


def open_openvino(request: Mapping[str, Any]) -> Opened:
    """An ONNX file or OpenVINO's own format, for latency; all else as OpenVINO chooses."""
    import openvino

    options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads()}
    if request["precision"] is not None:
        options["INFERENCE_PRECISION_HINT"] = request["precision"]
    core = openvino.Core()
    model = core.read_model(request["path"])
    names = [port.get_any_name() for port in model.inputs]

    def compiled(shape: Sequence[int] | None) -> Run:
        form = model.clone()
        if shape is not None:
            form.reshape({name: list(shape) for name in names})
        inference = core.compile_model(form, "CPU", options).create_infer_request()
        ports = [(port.get_any_name(), port) for port in inference.model_outputs]

        def run(feeds: Arrays) -> Arrays:
            found = inference.infer(feeds, share_inputs=True)
            return {name: found[port] for name, port in ports}

        return run

    if not request["fixed"]:
        return names, compiled(None)
    engines = {tuple(shape): compiled(shape) for shape in request["shapes"]}
    return names, lambda feeds: engines[feeds["input_ids"].shape](feeds)


def open_torch(request: Mapping[str, Any]) -> Opened:
    """The original model in transformers, from arrays to arrays."""
    import torch
    import transformers

    torch.set_num_threads(threads())
    dtype = getattr(torch, request["precision"])
    loader = getattr(transformers, _MODELS[request["task"]])
    model = loader.from_pretrained(request["path"], dtype=dtype).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]

    def run(feeds: Arrays) -> Arrays:
        with torch.inference_mode():
            found = model(**{name: torch.from_numpy(array) for name, array in feeds.items()})
        return {name: found[name].float().numpy() for name in _OUTPUTS if name in found}

    return names, run


OPENERS: Mapping[str, Callable[[Mapping[str, Any]], Opened]] = {
    "bundle": open_bundle,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
    "torch": open_torch,
}


def main() -> None:
    """Open the contender, time each shape, keep the answers where asked."""
    request = read_request()
    names, run = OPENERS[request["kind"]](request)
    for shape, file, kept in zip(
        request["shapes"], request["files"], request["answers"], strict=True
    ):
        with np.load(file) as stored:
            arrays = dict(stored)
        feeds = {name: arrays[name] for name in names}
        taken = time_runs(lambda: run(feeds), seconds=request["seconds"], least=request["least"])  # noqa: B023  called at once
        send("time", shape=shape, seconds=taken)
        if kept:
            outputs = {name: array for name, array in run(feeds).items() if name in _OUTPUTS}
            np.savez(kept, **keep(outputs, arrays))


if __name__ == "__main__":
    main()
