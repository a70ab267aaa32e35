"""One vector per text: prompts before the graph, truncation and normalization after it.

Pooling and dense layers are inside the graph. What is left here follows sentence-transformers'
``encode``: the prompt is written before the text, the vector is cut to ``truncate_dim`` and only
then normalized. The methods have the names that they have there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypedDict, Unpack, cast, overload

import numpy as np
from numpy.typing import NDArray

from bert_export.errors import InputError, one_line, shown, suggestion
from bert_export.runtime.batching import Row
from bert_export.runtime.calls import explains_misuse
from bert_export.runtime.checks import check_flag, check_whole_or_none, check_word
from bert_export.runtime.decoding.embeddings import (
    PRECISIONS,
    Precision,
    compare_pairs,
    compare_vectors,
    finish_vectors,
    pooling_mask,
    quantize_vectors,
)
from bert_export.runtime.pipelines.inputs import check_text, field, read_items, text_items
from bert_export.runtime.pipelines.pipeline import Pipeline
from bert_export.runtime.pipelines.progress import watched
from bert_export.runtime.pipelines.texts import Tokenization, encode_texts
from bert_export.runtime.sessions.session import Outputs
from bert_export.tasks.sentence_embedding import (
    POOLING_MASK,
    TASK,
    SentenceEmbeddingPostProcessing,
    Similarity,
)

__all__ = [
    "EncodeOptions",
    "SentenceEmbeddingPipeline",
    "SentenceEmbeddingSettings",
    "choose_prompt",
]


@dataclass(frozen=True, slots=True)
class SentenceEmbeddingSettings:
    """A call's choices.

    Args:
        prompt: Written before every text.
        truncate_dim: Numbers that a vector keeps; all when ``None``.
        normalize: Whether vectors are scaled to length 1 after that.
    """

    prompt: str = ""
    truncate_dim: int | None = None
    normalize: bool = False


class EncodeOptions(TypedDict, total=False):
    """Options of :meth:`SentenceEmbeddingPipeline.encode`."""

    prompt_name: str | None
    prompt: str | None
    batch_size: int | None
    show_progress_bar: bool | None
    precision: Precision
    ranges: NDArray[Any] | None
    convert_to_numpy: bool
    convert_to_tensor: bool
    normalize_embeddings: bool
    truncate_dim: int | None


_EMPTY_PROMPTS = {"query": "", "document": ""}
"""Prompts that every model has in sentence-transformers 5; its own replace them."""


def choose_prompt(
    parameters: SentenceEmbeddingPostProcessing,
    prompt: str | None,
    prompt_name: str | None,
    *,
    others: Mapping[str, str] | None = None,
) -> str:
    """The text to write before every sentence: the given one, the named one, or the default's.

    Args:
        parameters: The bundle's, with its prompts.
        prompt: The text itself.
        prompt_name: Names one of the prompts instead.
        others: Prompts that may be named too where the bundle has none of the name.

    Raises:
        InputError: No prompt is called so, or ``prompt`` is no string.
    """
    if prompt is not None:
        if prompt_name is not None:
            warnings.warn(
                f"prompt_name {prompt_name!r} is ignored because prompt is given", stacklevel=3
            )
        return check_text(prompt, "prompt")
    if prompt_name is not None:
        prompts = {**(others or {}), **parameters.prompts}
        if check_text(prompt_name, "prompt_name") not in prompts:
            raise InputError(
                f"prompt {prompt_name!r} is unknown",
                expected=f"one of {', '.join(prompts)}" if prompts else "a bundle with prompts",
                got=shown(prompt_name),
                fix=suggestion(prompt_name, prompts) or "Pass the text itself as prompt",
            )
        return prompts[prompt_name]
    return parameters.prompts.get(parameters.default_prompt_name or "", "")


class SentenceEmbeddingPipeline(Pipeline[str, NDArray[np.float32], SentenceEmbeddingSettings]):
    """Embeds texts as sentence-transformers' ``encode`` does."""

    definition = TASK
    parameters: SentenceEmbeddingPostProcessing

    def summary(self) -> dict[str, object]:
        return {
            **super().summary(),
            "dimension": self.get_embedding_dimension(),
            "max_seq_length": self.max_seq_length,
        }

    @property
    def dimension(self) -> int:
        """Length of the graph's vectors."""
        return cast("int", self._session.outputs[0].shape[-1])

    @property
    def max_seq_length(self) -> int:
        """Tokens of a text at most, special tokens included; a longer text loses its end."""
        return self.tokenizer.max_length

    @property
    def prompts(self) -> dict[str, str]:
        """The model's prompts by name; ``query`` and ``document`` are empty where it has none."""
        return _EMPTY_PROMPTS | self.parameters.prompts

    @property
    def default_prompt_name(self) -> str | None:
        """The prompt of a call that names none."""
        return self.parameters.default_prompt_name

    @property
    def truncate_dim(self) -> int | None:
        """Numbers that a vector keeps where a call does not say; all when ``None``."""
        return self.parameters.truncate_dim

    @property
    def similarity_fn_name(self) -> Similarity:
        """How :meth:`similarity` compares: what the model was trained for, else ``cosine``."""
        return self.parameters.similarity_fn_name

    def get_embedding_dimension(self) -> int:
        """Length of the vectors of a call that does not say another."""
        return min(self.dimension, self.truncate_dim or self.dimension)

    def get_sentence_embedding_dimension(self) -> int:
        """The older name of :meth:`get_embedding_dimension`."""
        return self.get_embedding_dimension()

    @overload
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        prompt_name: str | None = ...,
        prompt: str | None = ...,
        batch_size: int | None = ...,
        show_progress_bar: bool | None = ...,
        precision: Precision = ...,
        ranges: NDArray[Any] | None = ...,
        convert_to_numpy: Literal[True] = ...,
        convert_to_tensor: bool = ...,
        normalize_embeddings: bool = ...,
        truncate_dim: int | None = ...,
    ) -> NDArray[Any]: ...

    @overload
    def encode(
        self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]
    ) -> NDArray[Any] | list[NDArray[Any]]: ...

    @explains_misuse
    def encode(
        self,
        sentences: str | Iterable[str],
        *,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        precision: Precision = "float32",
        ranges: NDArray[Any] | None = None,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        normalize_embeddings: bool = False,
        truncate_dim: int | None = None,
    ) -> NDArray[Any] | list[NDArray[Any]]:
        """Embed texts with the options of sentence-transformers' ``encode``.

        Args:
            sentences: A text, or any iterable of texts; longer ones are cut at
                :attr:`max_seq_length`.
            prompt_name: Names one of the model's :attr:`prompts`, which is written before every
                text; the default prompt when ``None``.
            prompt: The prompt itself, instead of its name.
            batch_size: Texts per graph call at most, besides the token budget.
            show_progress_bar: Whether a bar is drawn on standard error. When ``None``, if the
                logger ``bert_export`` is at ``INFO`` or below.
            precision: ``float32``; ``binary`` and ``ubinary`` keep signs, packed into bytes;
                ``int8`` and ``uint8`` need ``ranges``.
            ranges: (2, D), the least and the largest number of each dimension, as seen on vectors
                like these: what is indexed together must share them.
            convert_to_numpy: Whether the answer is one array; a list of vectors otherwise.
            convert_to_tensor: Only false: there is no PyTorch here.
            normalize_embeddings: Whether vectors are scaled to length 1, after truncation.
            truncate_dim: Numbers that a vector keeps (Matryoshka models); :attr:`truncate_dim` when
                ``None``.

        Returns:
            (N, D) in the order of the texts, (D,) for a single text: float32, or as
            ``precision`` says, see
            :func:`bert_export.runtime.decoding.embeddings.quantize_vectors`.

        Raises:
            InputError: A text is no string (the error names its index), a prompt is unknown,
                ``ranges`` are missing or an option is malformed.
        """
        if check_flag("convert_to_tensor", convert_to_tensor):
            raise InputError(
                "convert_to_tensor does not fit a runtime without PyTorch",
                expected="false",
                got="true",
                fix="Pass the answer to torch.from_numpy",
            )
        settings = SentenceEmbeddingSettings(
            choose_prompt(self.parameters, prompt, prompt_name, others=_EMPTY_PROMPTS),
            self._read_truncate_dim(truncate_dim),
            check_flag("normalize_embeddings", normalize_embeddings),
        )
        wanted = check_word("precision", precision, PRECISIONS)
        bounds = self._read_ranges(wanted, ranges, settings.truncate_dim)
        single, texts = text_items(sentences, "sentences")
        vectors = self._embed(
            texts, settings, batch_size=batch_size, show_progress_bar=show_progress_bar
        )
        vectors = quantize_vectors(vectors, wanted, bounds)
        if single:
            return np.asarray(vectors[0])
        return vectors if check_flag("convert_to_numpy", convert_to_numpy) else list(vectors)

    @explains_misuse
    def encode_query(
        self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]
    ) -> NDArray[Any] | list[NDArray[Any]]:
        """Embed queries: as :meth:`encode`, with the prompt ``query`` unless another is named."""
        return self.encode(sentences, **_prompted("query", options))

    @explains_misuse
    def encode_document(
        self, sentences: str | Iterable[str], **options: Unpack[EncodeOptions]
    ) -> NDArray[Any] | list[NDArray[Any]]:
        """Embed documents: as :meth:`encode`, with the prompt ``document`` unless another is named.

        As in sentence-transformers, that is empty for a model that calls it ``passage``, say.
        """
        return self.encode(sentences, **_prompted("document", options))

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """How alike every vector of one set is to every vector of another.

        Args:
            embeddings1: Numbers (N, D), or (D,) for one vector.
            embeddings2: Numbers (M, D), or (D,).

        Returns:
            float32 (N, M) of :attr:`similarity_fn_name`; distances are negative, so that more is
            more alike.

        Raises:
            InputError: These are no vectors of one length.
        """
        left, right = _read_vectors(embeddings1, embeddings2)
        return compare_vectors(left, right, self.similarity_fn_name)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """How alike each vector of one set is to the one at its place in another.

        Args:
            embeddings1: Numbers (N, D).
            embeddings2: Numbers (N, D).

        Returns:
            float32 (N,); see :meth:`similarity`.

        Raises:
            InputError: These are not as many vectors of one length.
        """
        left, right = _read_vectors(embeddings1, embeddings2)
        if len(left) != len(right):
            raise InputError(
                "embeddings2 do not pair with embeddings1",
                expected=f"{len(left)} vectors",
                got=len(right),
            )
        return compare_pairs(left, right, self.similarity_fn_name)

    def __call__(
        self,
        inputs: str | Iterable[str],
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
    ) -> NDArray[np.float32]:
        """Embed texts; longer ones are cut at the tokenizer's limit.

        Args:
            inputs: A text, or any iterable of texts.
            normalize: Whether vectors are scaled to length 1 after truncation; what the graph says
                when ``None``.
            truncate_dim: Numbers that a vector keeps.
            prompt: Written before every text; the model's default prompt when ``None``.
            prompt_name: Names one of the model's prompts instead.
            batch_size: Rows per graph call at most.

        Returns:
            float32 (n, D), in the order of the texts; (D,) for a single text.

        Raises:
            InputError: A text is no string, a prompt is unknown, or ``normalize=False`` is asked of
                a graph that normalizes.
        """
        settings = self.settings(
            normalize=normalize, truncate_dim=truncate_dim, prompt=prompt, prompt_name=prompt_name
        )
        single, texts = text_items(inputs)
        if single:
            answer = self.answer(cast("str", inputs), settings, batch_size=batch_size)
            return cast("NDArray[np.float32]", answer)
        return self._embed(texts, settings, batch_size=batch_size, show_progress_bar=False)

    @explains_misuse
    def stream(
        self,
        inputs: Iterable[str],
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        batch_size: int | None = None,
    ) -> Iterator[NDArray[np.float32]]:
        """Embed texts as they are read: vectors (D,) one by one, in bounded memory.

        The arguments are those of a call; ``inputs`` may be endless.
        """
        settings = self.settings(
            normalize=normalize, truncate_dim=truncate_dim, prompt=prompt, prompt_name=prompt_name
        )
        single, items = text_items(inputs)
        if single:
            raise InputError(
                "inputs are of the wrong type",
                expected="an iterable of texts",
                got="a single text",
                fix="Call the pipeline itself",
            )
        return self.answers(read_items(items, check_text), settings, batch_size=batch_size)

    def settings(
        self,
        *,
        normalize: bool | None = None,
        truncate_dim: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
    ) -> SentenceEmbeddingSettings:
        """Check a call's arguments against the bundle; see :meth:`__call__`."""
        scaled = check_flag("normalize", normalize) if normalize is not None else None
        if scaled is False and self.parameters.normalize:
            raise InputError(
                "normalize=False does not fit the bundle",
                expected="True or None",
                got="a graph that ends in a normalization",
                fix="Export the checkpoint without its Normalize module",
            )
        return SentenceEmbeddingSettings(
            choose_prompt(self.parameters, prompt, prompt_name),
            self._read_truncate_dim(truncate_dim),
            bool(scaled),
        )

    def item(self, record: Mapping[str, Any]) -> str:
        """The record's ``text`` (of a scored pair, the first; embed ``text_pair`` as its own)."""
        return check_text(field(record, "text"))

    def default_settings(self) -> SentenceEmbeddingSettings:
        """The model's default prompt, the whole vector as the graph gives it."""
        return self.settings()

    def encode_items(
        self, items: Sequence[str], settings: SentenceEmbeddingSettings
    ) -> list[list[Row]]:
        """One row per text, with its ``pooling_mask`` where the graph takes one."""
        texts = [f"{settings.prompt}{item}" for item in items] if settings.prompt else items
        rows = encode_texts(self.tokenizer, texts, self._tokenization)
        if self.parameters.include_prompt:
            return [[row] for row in rows]
        skipped = self._prompt_tokens(settings.prompt)
        return [
            [replace(row, extra={POOLING_MASK: pooling_mask(len(row), skipped)})] for row in rows
        ]

    def reduce(
        self, row: Row, outputs: Outputs, settings: SentenceEmbeddingSettings
    ) -> NDArray[np.float32]:
        """The row's vector, float32 (D,)."""
        return cast("NDArray[np.float32]", outputs["sentence_embedding"])

    def decode(
        self,
        item: str,
        rows: Sequence[Row],
        reduced: Sequence[NDArray[np.float32]],
        settings: SentenceEmbeddingSettings,
    ) -> NDArray[np.float32]:
        """The vector, cut and scaled as asked."""
        return finish_vectors(
            reduced[0], truncate_dim=settings.truncate_dim, normalize=settings.normalize
        )

    def _embed(
        self,
        texts: Iterable[object],
        settings: SentenceEmbeddingSettings,
        *,
        batch_size: int | None,
        show_progress_bar: bool | None,
    ) -> NDArray[np.float32]:
        """Vectors (N, D) of texts; they are cut and scaled all at once."""
        items = list(read_items(texts, check_text))
        raw = replace(settings, truncate_dim=None, normalize=False)
        answers = self.answers(items, raw, batch_size=batch_size)
        vectors = np.empty((len(items), self.dimension), dtype=np.float32)
        for index, vector in enumerate(watched(answers, len(items), show_progress_bar)):
            vectors[index] = vector
        return finish_vectors(
            vectors, truncate_dim=settings.truncate_dim, normalize=settings.normalize
        )

    def _read_truncate_dim(self, truncate_dim: int | None) -> int | None:
        given = check_whole_or_none("truncate_dim", truncate_dim, least=1)
        return self.parameters.truncate_dim if given is None else given

    def _read_ranges(
        self, precision: Precision, ranges: object, truncate_dim: int | None
    ) -> NDArray[np.float32] | None:
        """The ranges (2, D) of ``int8`` and ``uint8``; ``None`` for what needs none."""
        if precision not in ("int8", "uint8"):
            return None
        shape = (2, min(self.dimension, truncate_dim or self.dimension))
        bounds = None if ranges is None else _read_array("ranges", ranges)
        if bounds is None or bounds.shape != shape:
            raise InputError(
                f"precision {precision} needs the range of each dimension",
                expected=f"ranges of shape {shape}",
                got="none" if bounds is None else f"shape {bounds.shape}",
                fix="Pass np.stack([v.min(axis=0), v.max(axis=0)]) of many float32 vectors v, "
                "the same for all that are compared",
            )
        return bounds

    @property
    def _tokenization(self) -> Tokenization:
        return Tokenization(self.parameters.truncation)

    def _prompt_tokens(self, prompt: str) -> int:
        """Tokens that a prompt takes up at a row's start, ``[CLS]`` included; 0 without a prompt.

        Source: sentence-transformers, which counts the row of the prompt alone, less its ``[SEP]``:
        a word that prompt and text would share counts as the prompt alone splits.
        """
        if not prompt:
            return 0
        (row,) = encode_texts(self.tokenizer, [prompt], self._tokenization)
        return len(row) - 1


def _prompted(name: str, options: EncodeOptions) -> EncodeOptions:
    """Options with the prompt of that name, where they ask for none."""
    if options.get("prompt") is not None or options.get("prompt_name") is not None:
        return options
    return {**options, "prompt_name": name}


def _read_array(name: str, values: object) -> NDArray[np.float32]:
    """Numbers as an array, float32."""
    try:
        array = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} are of the wrong type", expected="an array of numbers", got=one_line(error)
        ) from error
    return array


def _read_vectors(first: object, second: object) -> tuple[NDArray[np.float32], ...]:
    """Two sets of vectors of one length, float32 (N, D) and (M, D)."""
    sets = []
    for number, given in enumerate((first, second), start=1):
        array = np.atleast_2d(_read_array(f"embeddings{number}", given))
        if array.ndim != 2:
            raise InputError(
                f"embeddings{number} have the wrong shape",
                expected="(vectors, numbers of each)",
                got=str(array.shape),
            )
        sets.append(array)
    if sets[0].shape[1] != sets[1].shape[1]:
        raise InputError(
            "embeddings2 are of another length than embeddings1",
            expected=f"{sets[0].shape[1]} numbers each",
            got=sets[1].shape[1],
        )
    return tuple(sets)
