"""Label a text, or a pair of texts, as upstream's ``text-classification`` pipeline does.

A head of one label over pairs is what sentence-transformers calls a cross-encoder: its ``predict``
and ``rank`` are here too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import NDArray

from bert_export.errors import InputError
from bert_export.runtime.batching import Row
from bert_export.runtime.calls import explains_misuse
from bert_export.runtime.checks import check_flag, check_whole_or_none, check_word
from bert_export.runtime.decoding.labels import choose_activation, rank_labels, score_labels
from bert_export.runtime.pipelines.inputs import (
    check_text,
    read_items,
    several,
    text_items,
    type_name,
)
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.progress import watched
from bert_export.runtime.pipelines.texts import UNCUT, Tokenization, encode_texts
from bert_export.runtime.sessions.session import Array, Outputs
from bert_export.tasks.text_classification import (
    TASK,
    Activation,
    TextClassificationPostProcessing,
)

__all__ = ["TextClassificationPipeline", "TextClassificationSettings"]

TextItem = str | tuple[str, str]

_ACTIVATIONS: tuple[Activation, ...] = ("none", "sigmoid", "softmax")
_MODULES: dict[str, Activation] = {"Identity": "none", "Sigmoid": "sigmoid", "Softmax": "softmax"}
"""PyTorch's names, which sentence-transformers writes."""

_PAIR = "a pair of texts, or a list of pairs"


@dataclass(frozen=True, slots=True)
class TextClassificationSettings:
    """How a call scores and reports.

    Args:
        activation: What turns logits into scores.
        top_k: How many labels are reported; all when ``None``.
        bare: Whether the best label is reported as a mapping instead of a list of them.
        tokenization: How the texts are cut.
    """

    activation: Activation
    top_k: int | None
    bare: bool
    tokenization: Tokenization


class TextClassificationPipeline(Pipeline[TextItem, Array, TextClassificationSettings]):
    """One label, several labels or a score for a text or a pair of texts."""

    definition = TASK
    parameters: TextClassificationPostProcessing

    def __call__(
        self,
        inputs: Any,
        *,
        top_k: int | str | None = "",
        function_to_apply: str | None = None,
        truncation: bool | str | UnsetType | None = UNSET,
        max_length: int | None = None,
        batch_size: int | None = None,
    ) -> Any:
        """Classify.

        Args:
            inputs: A text, a mapping with ``text`` and perhaps ``text_pair``, a list of these, or
                any other iterable of them.
            top_k: How many labels to report, best first; ``None`` for all. Left out, the answer is
                the best label alone, unless the bundle says otherwise.
            function_to_apply: ``sigmoid``, ``softmax``, ``none``, or ``default``: nothing for
                regression, sigmoid for several labels at once or a single label, else softmax. As
                the bundle says, as a rule ``default``, when ``None``.
            truncation: Whether an over-long input loses tokens, from the longer text of a pair
                first; when false such an input is an error. As the bundle says, as a rule true,
                when left out. (Upstream's default leaves it to break inside the model.)
            max_length: Tokens a row keeps; the tokenizer's own limit when ``None``.
            batch_size: Rows per graph call at most, besides the token budget.

        Returns:
            Without ``top_k``: ``{"label", "score"}`` per input, and a list that holds it for a
            single text. With it: a list of such mappings per input. Inputs that are neither a
            single one nor a list are answered lazily.

        Raises:
            InputError: An input or an option is malformed, or too long and not to be truncated.
        """
        default = self.defaults
        left_out = isinstance(top_k, str) and not top_k
        bare = left_out and default.bare
        if truncation is not UNSET:
            tokenization = Tokenization.from_options(
                {"truncation": truncation, "max_length": max_length}, UNCUT
            )
        elif max_length is not None:
            tokenization = Tokenization.from_options(
                {"max_length": max_length}, default.tokenization
            )
        else:
            tokenization = default.tokenization
        settings = TextClassificationSettings(
            default.activation
            if function_to_apply is None
            else self._read_activation(function_to_apply),
            default.top_k if left_out else _read_top_k(top_k),
            bare,
            tokenization,
        )
        single, records = (True, (inputs,)) if isinstance(inputs, Mapping) else text_items(inputs)
        answer = self.respond(
            inputs,
            single=single,
            records=records,
            read=_read_item,
            settings=settings,
            batch_size=batch_size,
        )
        return [answer] if bare and isinstance(inputs, str) else answer

    @explains_misuse
    def predict(
        self,
        sentences: Any,
        *,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | None = None,
        apply_softmax: bool = False,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
    ) -> NDArray[np.float32] | list[NDArray[np.float32]]:
        """Score pairs of texts as sentence-transformers' ``CrossEncoder.predict`` does.

        Args:
            sentences: A pair of texts, such as ``("question", "passage")``, a mapping with ``text``
                and perhaps ``text_pair``, or any iterable of these. Longer pairs are cut as the
                bundle says.
            batch_size: Pairs per graph call at most, besides the token budget.
            show_progress_bar: Whether a bar is drawn on standard error. When ``None``, if the
                logger ``bert_export`` is at ``INFO`` or below.
            activation_fn: What turns logits into scores: ``none``, ``sigmoid`` or ``softmax``. When
                ``None``, what the checkpoint's files say, else ``sigmoid`` for one label and
                ``none`` for several.
            apply_softmax: Whether scores of several labels are made to sum to 1 after that.
            convert_to_numpy: Whether the answer is one array; a list of arrays otherwise.
            convert_to_tensor: Only false: there is no PyTorch here.

        Returns:
            float32 (N,) for a head of one label, (N, L) for one of several; without the first axis
            for a single pair.

        Raises:
            InputError: A pair is malformed (the error names its index), or an option is.
        """
        if check_flag("convert_to_tensor", convert_to_tensor):
            raise InputError(
                "convert_to_tensor does not fit a runtime without PyTorch",
                expected="false",
                got="true",
                fix="Pass the answer to torch.from_numpy",
            )
        activation = self._read_predict_activation(activation_fn)
        if check_flag("apply_softmax", apply_softmax) and len(self.labels) > 1:
            then: tuple[Activation, ...] = (activation, "softmax")
        else:
            then = (activation,)
        single, records = _pairs(sentences)
        items = list(map(_read_pair, records) if single else read_items(records, _read_pair))
        answers = self.answers(
            items,
            self.defaults,
            batch_size=batch_size,
            decode=lambda _item, _rows, reduced: reduced[0],
        )
        scores = np.empty((len(items), len(self.labels)), dtype=np.float32)
        for index, logits in enumerate(watched(answers, len(items), show_progress_bar)):
            scores[index] = logits
        for function in then:
            scores = score_labels(scores, function)
        if len(self.labels) == 1:
            scores = scores[:, 0]
        if single:
            return cast("NDArray[np.float32]", scores[0])
        return scores if check_flag("convert_to_numpy", convert_to_numpy) else list(scores)

    @explains_misuse
    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_k: int | None = None,
        return_documents: bool = False,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        activation_fn: str | None = None,
    ) -> list[dict[str, Any]]:
        """Sort documents by how well they fit a query, as ``CrossEncoder.rank`` does.

        Args:
            query: A text.
            documents: Texts.
            top_k: How many to keep; all when ``None``.
            return_documents: Whether the texts are in the answer.
            batch_size: See :meth:`predict`, as for the options that follow.
            show_progress_bar: The same.
            activation_fn: The same.

        Returns:
            ``{"corpus_id": index in documents, "score"}`` per document, with ``"text"`` where it is
            asked for; best first, documents of equal score in their order.

        Raises:
            InputError: The head has several labels, a text is no string (the error names its
                index), or an option is malformed.
        """
        if len(self.labels) != 1:
            raise InputError(
                "rank does not fit the bundle",
                expected="a head of one label",
                got=f"{len(self.labels)} labels",
                fix="Use predict, which scores each label",
            )
        kept = check_whole_or_none("top_k", top_k, least=1)
        with_text = check_flag("return_documents", return_documents)
        asked = check_text(query, "query")
        texts = list(read_items(several(documents, "documents"), check_text))
        scores = self.predict(
            [(asked, text) for text in texts],
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            activation_fn=activation_fn,
        )
        order = np.argsort(-np.asarray(scores), kind="stable")[:kept]
        ranked = [{"corpus_id": int(index), "score": float(scores[index])} for index in order]
        if with_text:
            return [{**place, "text": texts[int(place["corpus_id"])]} for place in ranked]
        return ranked

    def item(self, record: Mapping[str, Any]) -> TextItem:
        return _read_item({name: record[name] for name in ("text", "text_pair") if name in record})

    def default_settings(self) -> TextClassificationSettings:
        own = self.parameters
        return TextClassificationSettings(
            self._read_activation(own.function_to_apply),
            own.top_k,
            own.top_k == 1,
            Tokenization(own.truncation, own.max_length),
        )

    def encode_items(
        self, items: Sequence[TextItem], settings: TextClassificationSettings
    ) -> list[list[Row]]:
        rows = encode_texts(
            self.tokenizer,
            items,
            settings.tokenization,
            limit=self.manifest.model.max_position_embeddings,
        )
        return [[row] for row in rows]

    def reduce(self, row: Row, outputs: Outputs, settings: TextClassificationSettings) -> Array:
        return outputs["logits"]  # (L,)

    def decode(
        self,
        item: TextItem,
        rows: Sequence[Row],
        reduced: Sequence[Array],
        settings: TextClassificationSettings,
    ) -> Any:
        (logits,) = reduced
        answer = rank_labels(score_labels(logits, settings.activation), self.labels, settings.top_k)
        return answer[0] if settings.bare else answer

    def _read_predict_activation(self, name: str | None) -> Activation:
        """What ``predict`` applies to the logits: as asked, as the checkpoint says, or as usual."""
        if name is not None:
            return check_word("activation_fn", name, _ACTIVATIONS)
        stated = self.parameters.activation_fn
        if stated is None:
            return "sigmoid" if len(self.labels) == 1 else "none"
        known = _MODULES.get(stated.rpartition(".")[2])
        if known is None:
            raise InputError(
                f"activation_fn of the checkpoint is {stated}, which is not supported",
                expected=f"one of {', '.join(_MODULES)}",
                fix=f"Pass activation_fn, one of {', '.join(_ACTIVATIONS)}",
            )
        return known

    def _read_activation(self, name: str) -> Activation:
        """What an option, or the bundle where it is left out, applies to the logits."""
        if isinstance(name, str) and name.lower() == "default":
            return choose_activation(self.parameters.problem_type, len(self.labels))
        return check_word(
            "function_to_apply",
            name,
            _ACTIVATIONS,
            expected=f"default, {', '.join(_ACTIVATIONS)}",
        )


def _pairs(sentences: object) -> tuple[bool, Iterable[Any]]:
    """Whether an argument of ``predict`` is a single pair, and its pairs.

    Source: sentence-transformers: what holds strings is a pair, what holds pairs a list of them.
    """
    if isinstance(sentences, str | Mapping):
        return True, (sentences,)
    if isinstance(sentences, np.ndarray) and sentences.ndim == 2:
        return False, sentences.tolist()
    records = several(sentences, "sentences", expected=_PAIR)
    if isinstance(records, list | tuple | np.ndarray) and len(records) > 0:
        return (True, (records,)) if isinstance(records[0], str) else (False, records)
    return False, records


def _read_pair(record: object) -> TextItem:
    """A pair of texts, as a sequence or as a mapping; or a text alone."""
    if isinstance(record, str | Mapping):
        return _read_item(record)
    texts = tuple(several(record, "pair", expected="two texts"))
    if len(texts) != len(("text", "text_pair")):
        raise InputError(
            "pair is of the wrong length",
            expected="two texts",
            got=len(texts),
            fix="Pass several pairs as a list of them",
        )
    return check_text(texts[0]), check_text(texts[1], "text_pair")


def _read_item(record: object) -> TextItem:
    """A text or a pair of them."""
    if isinstance(record, str):
        return record
    if not isinstance(record, Mapping):
        raise InputError(
            "input is of the wrong type",
            expected="a string, or a mapping with 'text'",
            got=type_name(record),
            fix="Pass a pair as {'text': ..., 'text_pair': ...}",
        )
    if "text" not in record or record.keys() - {"text", "text_pair"}:
        raise InputError(
            "input has the wrong fields",
            expected="'text' and perhaps 'text_pair'",
            got=", ".join(map(repr, record)) or "none",
        )
    text = check_text(record["text"])
    pair = record.get("text_pair")
    if pair is None or not check_text(pair, "text_pair"):
        return text  # upstream takes an empty second text for none
    return text, pair


def _read_top_k(top_k: object) -> int | None:
    return check_whole_or_none(
        "top_k", top_k, least=1, expected="a positive whole number, or None for all labels"
    )
