"""A bundle behind Triton's Python backend: strings in, answers out.

The bundle lies beside this file. Only bert_export's runtime is imported, so a server needs
``pip install bert-export`` and nothing that exported the model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton  # type: ignore[import-not-found]  # Triton's own

from bert_export import load
from bert_export.errors import BertExportError
from bert_export.tasks import LIST_FIELDS

__all__ = ["TritonPythonModel"]


class TritonPythonModel:
    """Answers the requests of one model instance; Triton calls its three methods."""

    def initialize(self, args: dict[str, str]) -> None:
        """Open the bundle with as many threads as the configuration says."""
        config = json.loads(args["model_config"])
        threads = int(config["parameters"]["threads"]["string_value"])
        self.pipeline = load(Path(__file__).parent / "bundle", threads=threads)
        self.inputs = {one["name"]: one["name"].lower() for one in config["input"]}
        self.gives_vectors = config["output"][0]["name"] == "EMBEDDING"

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """One response per request; the records of all requests run together."""
        groups = [self._read(request) for request in requests]
        try:
            answers = self._answer([record for group in groups for record in group])
        except BertExportError:  # one request is at fault: each is answered alone
            return [self._answer_alone(group) for group in groups]
        responses, place = [], 0
        for group in groups:
            responses.append(self._respond(answers[place : place + len(group)]))
            place += len(group)
        return responses

    def finalize(self) -> None:
        """Close the engine."""
        self.pipeline.close()

    def _read(self, request: Any) -> list[dict[str, Any]]:
        """The records of a request, whose arrays are (B, 1), or (B, C) for choices, of bytes."""
        columns = {
            field: triton.get_input_tensor_by_name(request, name).as_numpy()
            for name, field in self.inputs.items()
        }
        return [
            {field: self._field(field, row) for field, row in zip(columns, rows, strict=True)}
            for rows in zip(*columns.values(), strict=True)
        ]

    def _field(self, name: str, row: Any) -> str | list[str]:
        # Bytes that are no UTF-8 stay what they are, and the pipeline refuses them by name.
        words = [bytes(word).decode("utf-8", "surrogateescape") for word in np.ravel(row)]
        return words if name in LIST_FIELDS else words[0]

    def _answer(self, records: list[dict[str, Any]]) -> list[Any]:
        if self.inputs == {"TEXT": "text"}:
            return list(self.pipeline([record["text"] for record in records]))
        return [self.pipeline.ask(record) for record in records]

    def _answer_alone(self, group: list[dict[str, Any]]) -> Any:
        try:
            return self._respond(self._answer(group))
        except BertExportError as error:
            return triton.InferenceResponse([], triton.TritonError(str(error)))

    def _respond(self, answers: list[Any]) -> Any:
        if self.gives_vectors:
            tensor = triton.Tensor("EMBEDDING", np.asarray(answers, np.float32))
        else:
            texts = [json.dumps(answer, ensure_ascii=False, default=_plain) for answer in answers]
            rows = np.array([[text.encode()] for text in texts], object)
            tensor = triton.Tensor("ANSWER", rows)
        return triton.InferenceResponse([tensor])


def _plain(value: Any) -> Any:
    return value.tolist()
