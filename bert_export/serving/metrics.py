"""What Prometheus reads of a service."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics", "ModelMetrics"]

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The figures of one service; each has its own, so several may share a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "bert_export_requests",
            "Requests that were answered.",
            ("route", "status"),
            registry=self._registry,
        )
        self._refused = Counter(
            "bert_export_refused",
            "Requests that a full queue refused.",
            ("model",),
            registry=self._registry,
        )
        self._held = Gauge(
            "bert_export_queue_size",
            "Requests that are accepted and not yet answered.",
            ("model",),
            registry=self._registry,
        )
        self._histograms = {
            name: Histogram(
                f"bert_export_{name}", text, ("model",), buckets=buckets, registry=self._registry
            )
            for name, text, buckets in (
                ("queue_seconds", "Wait of a request's rows for the engine.", _SECONDS),
                ("tokenize_seconds", "Tokenization of a request.", _SECONDS),
                ("infer_seconds", "Graph calls of a round.", _SECONDS),
                ("batch_rows", "Rows of a round.", _ROWS),
                ("batch_tokens", "Tokens of a round.", _TOKENS),
            )
        }

    def answered(self, route: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()

    def of(self, model: str) -> ModelMetrics:
        """The figures of one bundle."""
        return ModelMetrics(
            *(self._histograms[name].labels(model) for name in self._histograms),
            refused=self._refused.labels(model),
        )

    def watch(self, model: str, held: Callable[[], int]) -> None:
        """Ask for the length of a queue whenever the figures are read."""
        self._held.labels(model).set_function(held)

    def text(self) -> bytes:
        """All figures, in Prometheus' text format."""
        return generate_latest(self._registry)


class ModelMetrics:
    """Hears what a bundle's batcher does; see :class:`bert_export.runtime.batcher.Observer`."""

    def __init__(
        self,
        queue: Histogram,
        tokenize: Histogram,
        infer: Histogram,
        rows: Histogram,
        tokens: Histogram,
        *,
        refused: Counter,
    ) -> None:
        self._queue, self._tokenize, self._infer = queue, tokenize, infer
        self._rows, self._tokens, self.refused = rows, tokens, refused

    def waited(self, seconds: float) -> None:
        """Rows of a request waited so long."""
        self._queue.observe(seconds)

    def tokenized(self, seconds: float) -> None:
        """A request took so long to tokenize."""
        self._tokenize.observe(seconds)

    def ran(self, seconds: float, rows: int, tokens: int) -> None:
        """A round took so long."""
        self._infer.observe(seconds)
        self._rows.observe(rows)
        self._tokens.observe(tokens)
