"""What every pipeline is: rows in, a graph, an answer out.

A task's pipeline fills in three steps and a ``__call__`` with the upstream pipeline's signature:

- ``encode_items``: items to rows (tokenize, truncate or stride);
- ``reduce``: a row's outputs to the little that the answer needs;
- ``decode``: an item's reduced rows to its answer.

The steps get the call's settings as one frozen value, so a pipeline holds no state of a call and
serves several threads. What a call leaves out is as the manifest's post-processing says.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from bert_export.bundle import EngineRecord, Manifest
from bert_export.errors import InputError, shown
from bert_export.runtime.batching import (
    TOKEN_BUDGET,
    Advance,
    Row,
    answer_items,
    join_rows,
    pad_rows,
    run_in_batches,
    split_outputs,
)
from bert_export.runtime.calls import explains_misuse
from bert_export.runtime.checks import check_whole, check_whole_or_none
from bert_export.runtime.closing import Closing
from bert_export.runtime.on_demand import on_demand
from bert_export.runtime.pipelines.inputs import DecodeItem, mapping_items, naming_items, read_items
from bert_export.runtime.sessions.session import (
    BoundedSession,
    Feeds,
    Outputs,
    PaddingSession,
    RaggedSession,
    RawFeeds,
    Session,
)
from bert_export.runtime.text_reader import TextReader, takes_texts
from bert_export.runtime.tokenization import Tokenizer
from bert_export.tasks import LABELS, CheckpointFacts, PostProcessing, Task, find_task
from bert_export.tasks.interface import outputs_per_token

if TYPE_CHECKING:  # imports this module
    from bert_export.runtime.batcher import Batcher, Observer

__all__ = ["Pipeline"]

_LOGGER = logging.getLogger(__name__)

Item = TypeVar("Item")
Reduced = TypeVar("Reduced")
Settings = TypeVar("Settings")
Result = TypeVar("Result")


class Pipeline(Closing, Generic[Item, Reduced, Settings]):
    """A loaded bundle that answers one task; safe to call from several threads.

    Args:
        manifest: The bundle's manifest.
        tokenizer: Its tokenizer.
        session: Its opened graph; the pipeline closes it.
        token_budget: Padded tokens per graph call, the default of the batching when ``None``.
        sort: Whether rows are sorted by length before they are batched.
        engine: The bundle's entry that the session runs; ``None`` where it is of no bundle.
        reopen: Opens the same pipeline again, in another process too. Copies and pickles are made
            by it, so they hold an engine of their own. ``None`` where nothing can.
        open_texts: Opens the bundle's graph that takes texts, when :meth:`run` first gets some.

    Raises:
        BundleError: The manifest's post-processing is malformed.
    """

    definition: ClassVar[Task]
    parameters: PostProcessing

    def __init__(
        self,
        manifest: Manifest,
        tokenizer: Tokenizer,
        session: Session,
        *,
        token_budget: int | None = None,
        sort: bool = True,
        engine: EngineRecord | None = None,
        reopen: Callable[[], Pipeline[Any, Any, Any]] | None = None,
        open_texts: Callable[[], Session] | None = None,
    ) -> None:
        self.manifest = manifest
        self.tokenizer = tokenizer
        self.engine = engine
        self._reopen = reopen
        self._batcher: Batcher | None = None
        self._session = session
        self._texts = TextReader(open_texts)
        self._max_rows = session.max_rows if isinstance(session, BoundedSession) else None
        self._row_multiple = session.row_multiple if isinstance(session, PaddingSession) else 1
        self._ragged = session if isinstance(session, RaggedSession) else None
        self._per_token = outputs_per_token(session.outputs)
        self._token_budget = (
            TOKEN_BUDGET
            if token_budget is None
            else check_whole("token_budget", token_budget, least=1)
        )
        self._sort = sort
        kind = self.definition.postprocessing
        self.parameters = (
            kind.from_manifest(manifest.postprocessing)
            if _says_as_much(find_task(manifest.task).postprocessing, kind)
            else kind.from_checkpoint(self.facts)
        )

    def __init_subclass__(cls, **options: Any) -> None:
        """A call with an option that the task does not have asks whether a near one was meant."""
        super().__init_subclass__(**options)
        if "__call__" in vars(cls):
            setattr(cls, "__call__", explains_misuse(cls.__call__))  # noqa: B010 - mypy refuses a plain one

    def __repr__(self) -> str:
        """What is loaded: task, checkpoint, engine, and what the answers are made of."""
        facts = ", ".join(f"{name}={shown(value)}" for name, value in self.summary().items())
        return f"{type(self).__name__}({facts})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles name the bundle and how it was loaded; they load it again."""
        if self._reopen is None:
            raise InputError(
                f"pipeline of {self.manifest.model.source} cannot be copied or pickled",
                expected="one that bert_export.load opened",
                got="one over a session of its own",
                fix="Call load(...) where the copy is needed",
            )
        return self._reopen, ()

    def summary(self) -> dict[str, object]:
        """What ``repr`` shows: names and values, the labels where the head has some."""
        facts: dict[str, object] = {
            "task": self.task,
            "checkpoint": self.manifest.model.source,
        }
        if self.engine is not None:
            facts |= {"target": self.engine.target, "precision": self.engine.precision}
        if self.labels:
            facts["labels"] = list(self.labels)
        return facts

    @property
    def task(self) -> str:
        """Name of the task that is answered."""
        return self.definition.name

    @property
    def per_token(self) -> frozenset[str]:
        """Names of the outputs whose second axis is the sequence."""
        return self._per_token

    @property
    def labels(self) -> tuple[str, ...]:
        """Label names in id order; empty where the task has none."""
        return self.manifest.labels

    @property
    def facts(self) -> CheckpointFacts:
        """What the manifest says of the checkpoint's head."""
        own = self.manifest.postprocessing
        return CheckpointFacts(
            labels=self.labels,
            problem_type=own.get("problem_type"),
            activation_fn=own.get("activation_fn"),
        )

    @abstractmethod
    def item(self, record: Mapping[str, Any]) -> Item:
        """The item that a record of a calibration or evaluation file stands for."""

    @abstractmethod
    def default_settings(self) -> Settings:
        """The settings of a call that names none."""

    @on_demand
    def defaults(self) -> Settings:
        """The settings of a call that names none, made once."""
        return self.default_settings()

    def dataset_settings(self) -> Settings:
        """The settings for records of a data file: by default a call's; long text is cut."""
        return self.defaults

    @abstractmethod
    def encode_items(self, items: Sequence[Item], settings: Settings) -> list[list[Row]]:
        """Rows of each item: one, or several where the item is strided or has choices."""

    @abstractmethod
    def reduce(self, row: Row, outputs: Outputs, settings: Settings) -> Reduced:
        """What the answer needs of one row's outputs (batch axis and padding already removed)."""

    @abstractmethod
    def decode(
        self, item: Item, rows: Sequence[Row], reduced: Sequence[Reduced], settings: Settings
    ) -> Any:
        """The answer to one item."""

    @abstractmethod
    def __call__(self, *inputs: Any, **options: Any) -> Any:
        """Answer inputs as the upstream pipeline of the task does."""

    def ask(self, record: Mapping[str, Any], **options: Any) -> Any:
        """Answer one record of a data file, but for what labels it, with options of the call."""
        given = {
            name: value
            for name, value in record.items()
            if value is not None and name not in LABELS
        }
        return self(given["text"] if given.keys() == {"text"} else given, **options)

    def batcher(
        self,
        *,
        queue: int | None = None,
        most_tokens: int | None = None,
        observer: Observer | None = None,
    ) -> Batcher:
        """The queue in which calls wait for the engine, and travel together.

        Args:
            queue: Calls that are accepted and not yet answered, at most; 512 when ``None``.
            most_tokens: Tokens of a call's rows at most; any number when ``None``.
            observer: Hears how long things take.

        Returns:
            The pipeline's only one; it closes with the pipeline.

        Raises:
            InputError: An option is malformed, or given though the batcher is open.
        """
        from bert_export.runtime.batcher import QUEUE, Batcher, making

        with making():
            if self._batcher is None:
                self._batcher = Batcher(
                    self,
                    queue=QUEUE if queue is None else queue,
                    most_tokens=most_tokens,
                    observer=observer,
                )
            elif (queue, most_tokens, observer) != (None, None, None):
                raise InputError(
                    "batcher is open already",
                    expected="its options where it is first asked for",
                )
            return self._batcher

    async def acall(self, *inputs: Any, **options: Any) -> Any:
        """Answer as a call with these arguments does, while others use the engine too.

        The event loop never waits. Calls that come while a batch runs make the next one. An answer
        that a call would give lazily is a list.

        Raises:
            BusyError: The queue of :meth:`batcher` is full.
            InputError: As the call.
        """
        return await (self._batcher or self.batcher())(*inputs, **options)

    def graph_feeds(self, feeds: Feeds) -> Feeds:
        """Give padded rows (B, S) the axes of the graph's inputs; the same where they match."""
        return feeds

    def feeds(self, rows: Sequence[Row], *, length: int | None = None) -> Feeds:
        """The graph's inputs for a batch of rows.

        Args:
            rows: One at least.
            length: Tokens that rows are padded to; the longest row's when ``None``, or a few more
                where the session prefers that.
        """
        if length is None and self._row_multiple > 1:
            length = self._padded_length(max(map(len, rows)))
        return self.graph_feeds(pad_rows(rows, pad_id=self.tokenizer.pad_id, length=length))

    def ragged_feeds(self, rows: Sequence[Row]) -> Feeds:
        """The inputs of a session that takes rows as they are; see :class:`RaggedSession`."""
        return join_rows(rows)

    def split_outputs(self, rows: Sequence[Row], outputs: Outputs) -> list[Outputs]:
        """Give each row of a batch its own outputs."""
        return split_outputs(rows, outputs, per_token=self._per_token, padded=self._ragged is None)

    def run(self, feeds: RawFeeds) -> Outputs:
        """Run the raw graph: named numpy arrays in, named numpy arrays out.

        Texts in the place of ids, ``run({"text": ["Hello"]})``, go to the bundle's graph that takes
        texts, where it was exported with one. It is opened then, beside the other one.

        Args:
            feeds: Of the graph; texts and pairs of them may be lists.

        Raises:
            InputError: A feed is missing, unknown, or of another dtype or shape; or there are
                texts, and no graph that takes them.
        """
        if takes_texts(feeds):
            return self._texts.run(feeds)
        return self._session.run(cast("Feeds", feeds))

    def in_turn(self, work: Callable[[], Result]) -> Result:
        """Let the engine work for this call: at once, unless others wait in a queue."""
        return work()

    def run_rows(
        self,
        rows: Sequence[Row],
        *,
        batch_size: int | None = None,
        advance: Advance | None = None,
    ) -> list[Outputs]:
        """Run rows in batches under the token budget.

        Args:
            rows: In any order and of any length.
            batch_size: Rows per graph call at most, besides the token budget and what the engine
                takes.
            advance: Called with (rows done, rows in all) after every graph call.

        Returns:
            The outputs of each row, batch axis and padding removed, in the rows' order.
        """
        return self._in_batches(
            rows, self._run_batch, max_rows=self.rows_per_call(batch_size), advance=advance
        )

    def reduce_rows(
        self,
        rows: Sequence[Row],
        settings: Settings,
        *,
        batch_size: int | None = None,
        advance: Advance | None = None,
    ) -> list[Reduced]:
        """As :meth:`run_rows`, but of each row's outputs only what :meth:`reduce` keeps.

        Outputs are reduced batch by batch, so that large ones do not pile up.
        """
        if len(rows) == 1 and batch_size is None and advance is None:
            return self._reduce_batch(rows, settings=settings)
        return self._in_batches(
            rows,
            partial(self._reduce_batch, settings=settings),
            max_rows=self.rows_per_call(batch_size),
            advance=advance,
        )

    def answers(
        self,
        items: Iterable[Item],
        settings: Settings,
        *,
        batch_size: int | None = None,
        decode: DecodeItem[Item, Reduced] | None = None,
    ) -> Iterator[Any]:
        """Answer items in order, streaming; errors name the item by its index.

        Args:
            items: Any iterable, read a chunk at a time.
            settings: The call's settings.
            batch_size: Rows per graph call at most, besides the token budget and what the engine
                takes.
            decode: What is made of an item, its rows and what :meth:`reduce` kept of them, in place
                of :meth:`decode`.
        """
        self.rows_per_call(batch_size)
        encode_items, decode_item = naming_items(
            partial(self.encode_items, settings=settings),
            partial(self.decode, settings=settings) if decode is None else decode,
        )
        return answer_items(
            items,
            encode=encode_items,
            run=lambda rows: self.complete_rows(rows, settings, batch_size=batch_size),
            decode=decode_item,
        )

    def answer(self, item: Item, settings: Settings, *, batch_size: int | None = None) -> Any:
        """Answer one item; see :meth:`answers`."""
        (rows,) = self.encode_items([item], settings)
        reduced = self.complete_rows(rows, settings, batch_size=batch_size)
        return self.decode(item, rows, reduced, settings)

    def complete_rows(
        self, rows: Sequence[Row], settings: Settings, *, batch_size: int | None = None
    ) -> Sequence[Reduced]:
        """What :meth:`decode` needs of each row: by default one run of the graph, reduced."""
        return self.reduce_rows(rows, settings, batch_size=batch_size)

    def _in_batches(
        self,
        rows: Sequence[Row],
        run: Callable[[Sequence[Row]], Sequence[Result]],
        *,
        lengths: Sequence[int] | None = None,
        max_rows: int | None = None,
        advance: Advance | None = None,
    ) -> list[Result]:
        return run_in_batches(
            rows,
            run,
            lengths=[self._padded_length(len(row)) for row in rows] if lengths is None else lengths,
            token_budget=self._token_budget,
            max_rows=max_rows,
            sort=self._sort,
            padded=self._ragged is None,
            advance=advance,
        )

    def _padded_length(self, tokens: int) -> int:
        """The next length that the session prefers, unless the model does not take so many."""
        if self._row_multiple == 1:
            return tokens
        padded = -(-tokens // self._row_multiple) * self._row_multiple
        return padded if padded <= self.tokenizer.max_length else tokens

    def _run_batch(self, rows: Sequence[Row]) -> list[Outputs]:
        if _LOGGER.isEnabledFor(logging.DEBUG):
            _LOGGER.debug(
                "graph call of %d rows, longest %d tokens", len(rows), max(map(len, rows))
            )
        if self._ragged is not None:
            outputs = self._ragged.run_ragged(self.ragged_feeds(rows))
        else:
            outputs = self.run(self.feeds(rows))
        return self.split_outputs(rows, outputs)

    def _reduce_batch(self, rows: Sequence[Row], *, settings: Settings) -> list[Reduced]:
        return [
            self.reduce(row, outputs, settings)
            for row, outputs in zip(rows, self._run_batch(rows), strict=True)
        ]

    def rows_per_call(self, batch_size: int | None) -> int | None:
        """The most rows of a graph call: as the caller says, and what the engine takes."""
        bounds = (check_whole_or_none("batch_size", batch_size, least=1), self._max_rows)
        return min((bound for bound in bounds if bound is not None), default=None)

    def respond(
        self,
        inputs: Any,
        *,
        single: bool,
        records: Iterable[Any],
        read: Callable[[Any], Item],
        settings: Settings,
        batch_size: int | None = None,
    ) -> Any:
        """Answer in the shape of the call: an answer, a list of them, or an iterator.

        Args:
            inputs: What the caller passed.
            single: Whether ``inputs`` is one item.
            records: What ``inputs`` holds; one record where it is one item.
            read: A record to its item.
            settings: The call's settings.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            One answer for one item, a list for a list or tuple, otherwise a lazy iterator.

        Raises:
            InputError: An item is malformed; of several, the error names its index.
        """
        if single:
            (record,) = records
            return self.answer(read(record), settings, batch_size=batch_size)
        items = read_items(records, read)
        if not isinstance(inputs, list | tuple):
            return self.answers(items, settings, batch_size=batch_size)
        return list(self.answers(list(items), settings, batch_size=batch_size))

    def respond_to_records(
        self,
        inputs: Mapping[str, Any] | Iterable[Mapping[str, Any]] | None,
        settings: Settings,
        *,
        batch_size: int | None = None,
        **fields: object,
    ) -> Any:
        """Answer records in the shape of the call, see :meth:`respond`.

        Args:
            inputs: A record, or an iterable of records, or ``None`` where ``fields`` name one.
            settings: The call's settings.
            batch_size: Rows per graph call at most, besides the token budget.
            fields: The fields of a single record; ``None`` where they were not given.

        Raises:
            InputError: Both or neither were given, or a record does not fit.
        """
        single, records = mapping_items(inputs, **fields)
        return self.respond(
            inputs,
            single=single,
            records=records,
            read=self.item,
            settings=settings,
            batch_size=batch_size,
        )

    def close(self) -> None:
        """Free the graph; later calls raise. What the batcher accepted is answered before."""
        if self._batcher is not None:
            self._batcher.close()
        self._texts.close()
        self._session.close()


def _says_as_much(own: type[PostProcessing], other: type[PostProcessing]) -> bool:
    """Whether a bundle's parameters are those of another task too: of its own, or of a variant."""
    return issubclass(own, other) or issubclass(other, own)
