"""Keys and values that OpenVINO keeps as the state of a request.

A graph's caches become variables of it: a step brings nothing but its tokens, and no cache is
copied out and in again. Which rows go on is chosen inside the graph, by the input ``beam_idx``, as
in the graphs that optimum-intel makes.
"""

from __future__ import annotations

import queue
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError, one_line
from bert_export.runtime.sessions.cache import Cache, HeldInputs, Ids, empty_cache, token_feeds
from bert_export.runtime.sessions.forking import refuse_after_fork
from bert_export.runtime.sessions.session import Array, Feeds, FeedsCheck, Outputs
from bert_export.tasks.interface import BATCH, PAST, SEQUENCE, cached_outputs

if TYPE_CHECKING:  # imports this module
    from bert_export.runtime.sessions.openvino import OpenVinoSession

__all__ = ["StateCache", "StatefulEngine", "graph_errors", "make_stateful"]

_ROWS = "beam_idx"

Specs = tuple[TensorSpec, ...]


@contextmanager
def graph_errors() -> Iterator[None]:
    """Say that a graph failed."""
    try:
        yield
    except RuntimeError as error:
        raise InputError(
            "feeds make the graph fail",
            expected="rows that are no longer than the model's positions",
            got=one_line(error, keep_end=True),  # the beginning names its source files
        ) from error


def _caches(inputs: Specs, outputs: Specs) -> dict[str, str]:
    """The caches that a graph takes, and what it gives in their place."""
    kept = cached_outputs(outputs)
    pasts = [spec.name for spec in inputs if PAST in spec.shape]
    return dict(zip(pasts, [spec.name for spec in outputs if spec.name in kept], strict=True))


def make_stateful(model: Any, openvino: Any, inputs: Specs, outputs: Specs) -> Any:
    """Make a model's caches its state, in place.

    Args:
        model: As OpenVINO read it.
        openvino: The package.
        inputs: Of the graph.
        outputs: Of the graph.

    Returns:
        The model, with ``beam_idx``, int64 (B,), in the place of the caches: the rows of the state
        that the call goes on with.
    """
    from openvino._offline_transformations import apply_make_stateful_transformation

    operators = openvino.opset8
    rows = operators.parameter([-1], np.int64)
    rows.output(0).set_names({_ROWS})
    caches = _caches(inputs, outputs)
    for name in caches:
        past = model.input(name).get_node()
        readers = list(past.output(0).get_target_inputs())
        chosen = operators.gather(past, rows, operators.constant(0))
        for reader in readers:
            reader.replace_source_output(chosen.output(0))
    model.add_parameters([rows])
    model.validate_nodes_and_infer_types()
    apply_make_stateful_transformation(model, caches)
    return model


class StatefulEngine:
    """A compiled model of :func:`make_stateful`, and its requests, each with a state of its own.

    Args:
        compiled: The model.
        openvino: The package.
        inputs: Of the graph.
        outputs: Of the graph.

    Attributes:
        parts: What a forked child must not free.
    """

    def __init__(self, compiled: Any, openvino: Any, inputs: Specs, outputs: Specs) -> None:
        self._compiled, self._tensor = compiled, openvino.Tensor
        self._caches = _caches(inputs, outputs)
        given = {present: past for past, present in self._caches.items()}
        self._names = {past + present: past for present, past in given.items()}
        self._ports = {
            spec.name: compiled.output(spec.name) for spec in outputs if spec.name not in given
        }
        self.parts: list[Any] = [compiled, *self._ports.values()]
        self._free: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def take(self) -> Any:
        """A request that nobody uses."""
        try:
            return self._free.get_nowait()
        except queue.Empty:
            request = self._compiled.create_infer_request()
            self.parts.append(request)
            return request

    def give(self, request: Any) -> None:
        """Let others use a request again."""
        self._free.put(request)

    def keep(self, request: Any, caches: Mapping[str, Array]) -> None:
        """Make arrays a request's state, by the names of the graph's inputs."""
        for variable in request.query_state():
            array = np.ascontiguousarray(caches[self._names[variable.name]])
            variable.state = self._tensor(array)

    def kept(self, request: Any) -> dict[str, Array]:
        """Copies of a request's state, by the names of the graph's inputs."""
        return {
            self._names[variable.name]: np.array(variable.state.data)
            for variable in request.query_state()
        }

    def infer(self, request: Any, feeds: Feeds, rows: Ids) -> Outputs:
        """Run tokens behind some rows of a request's state; gives copies of what is no cache."""
        with graph_errors():
            # Inputs are read where they lie.
            found = request.infer({**feeds, _ROWS: rows}, share_inputs=True)
        return {name: found[port] for name, port in self._ports.items()}

    def run(self, feeds: Feeds) -> Outputs:
        """Run the graph once, with its caches among inputs and outputs."""
        request = self.take()
        try:
            self.keep(request, feeds)
            own = {name: array for name, array in feeds.items() if name not in self._caches}
            outputs = self.infer(request, own, np.arange(len(feeds["input_ids"])))
            kept = self.kept(request)
        finally:
            self.give(request)
        return {**outputs, **{present: kept[past] for past, present in self._caches.items()}}


class StateCache(Cache):
    """Keys and values in the state of one request.

    Args:
        session: Whose graph it is.
        engine: Of the session.
        held: Inputs by name whose first axis is the row, and that no step changes.
    """

    def __init__(
        self, session: OpenVinoSession, engine: StatefulEngine, held: Mapping[str, Array]
    ) -> None:
        self._session, self._engine, self._held = session, engine, HeldInputs(held)
        self._check = FeedsCheck(tuple(spec for spec in session.inputs if PAST not in spec.shape))
        self._request = engine.take()
        weakref.finalize(self, engine.give, self._request)
        self._rows: Ids | None = None  # of the state, those that go on
        self._tokens = 0

    def step(self, input_ids: Ids, attention_mask: Ids) -> Array:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.step`."""
        self._session.check_open()
        refuse_after_fork(self._session)
        feeds = token_feeds(self._session, input_ids, attention_mask) | self._held.arrays
        held = {PAST: self._tokens}
        if self._rows is not None:
            held[BATCH] = len(self._rows)
        sizes = self._check(feeds, self._session.longest, held)
        if self._rows is None:
            self._rows = np.arange(sizes[BATCH])
            self._engine.keep(self._request, empty_cache(self._session.inputs, sizes[BATCH]))
        scores = self._engine.infer(self._request, feeds, self._rows)["logits"]
        self._rows = np.arange(sizes[BATCH])
        self._tokens += sizes[SEQUENCE]
        return scores

    def select(self, rows: Ids, first: int) -> None:
        """See :meth:`bert_export.runtime.sessions.cache.Cache.select`."""
        self._held.select(rows)
        self._rows = rows if self._rows is None else self._rows[rows]
        if first:
            kept = self._engine.kept(self._request)
            shorter = {name: array[self._rows, :, first:] for name, array in kept.items()}
            self._engine.keep(self._request, shorter)
            self._rows = np.arange(len(rows))
            self._tokens -= first
