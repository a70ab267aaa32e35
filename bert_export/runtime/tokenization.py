"""Tokenization from ``tokenizer.json``, token for token that of the original.

One :class:`Tokenizer` serves several threads: the truncation of a ``tokenizers.Tokenizer`` is
state, so every truncation setting has its own, sharing one vocabulary. A list of texts is encoded
by several threads of the ``tokenizers`` library; a process that forks afterwards should set
``TOKENIZERS_PARALLELISM=false`` itself. One text alone never starts those threads.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import TypeAlias, TypeGuard, TypeVar, cast

import tokenizers
from tokenizers import AddedToken, Encoding
from tokenizers.models import WordPiece

from bert_export.bundle import TokenizerRecord, write_whole
from bert_export.errors import InputError, TokenizerError, one_line, one_of, shown
from bert_export.foreign_errors import panics_as_errors
from bert_export.regular_files import read_regular_text
from bert_export.runtime.decoding.encoded import Encoded
from bert_export.runtime.long_texts import Prepared, shorten, splits_at_spaces
from bert_export.runtime.lost_windows import refuse_lost_windows
from bert_export.runtime.native import NativeTagger, NativeTokenizer, open_native
from bert_export.runtime.on_demand import on_demand
from bert_export.tasks.postprocessing import Truncation

__all__ = ["Text", "Tokenizer"]

Text: TypeAlias = str | tuple[str, str] | Sequence[str]
"""A text, a pair of texts, or the words of a text that is split already."""

_TRUNCATIONS = ("longest_first", "only_first", "only_second", "none")
Value = TypeVar("Value")

_CACHED_SETTINGS = 16
_MOST_BYTES = 1 << 28
"""That a tokenizer.json may have; those of the largest vocabularies have a tenth."""
_SHORT = 16  # characters per token of a row: what has more is cut before it is tokenized
_PROBES = ("a", "0", ".", "\u4e2d", "\u0435")  # one of them is a token, be it the unknown one
_SPACED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")


@dataclass(frozen=True, slots=True)
class _Frame:
    """How special tokens frame the texts of a row.

    Args:
        before: Ids before the first text.
        between: Ids between the two texts of a pair.
        after: Ids after a single text, and after the second of a pair.
        types: Token types of the first text, of ``between``, of the second text and of what
            follows it.
    """

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Reading:
    """Where the library's encodings say otherwise than the original's tokenizer.

    Args:
        added: Texts of the added tokens by id. An encoding has them as the text spells them.
        token_types: Whether token types count. The windows of a long text have them even where the
            template has none.
    """

    added: Mapping[int, str]
    token_types: bool


class Tokenizer:
    """A BERT's tokenizer; safe to call from several threads.

    The first token of a row is the ``cls_token``, and a ``sep_token`` closes each text; two of them
    may stand between the texts of a pair. Words are split as the tokenizer's own model does it:
    WordPiece, Unigram or BPE.

    Args:
        backend: The ``tokenizers`` library's tokenizer; its truncation and padding are removed.
        record: What the manifest says of it.

    Raises:
        TokenizerError: It contradicts the record, or the installed ``tokenizers`` loses text.
    """

    def __init__(self, backend: tokenizers.Tokenizer, record: TokenizerRecord) -> None:
        refuse_lost_windows()
        model = backend.model
        self.record = record
        self.continuing_prefix: str | None = getattr(model, "continuing_subword_prefix", None)
        self.vocab_size: int = backend.get_vocab_size(with_added_tokens=True)
        self.cls_id = _require(backend, record, record.cls_token)
        self.sep_id = _require(backend, record, record.sep_token)
        self.pad_id = _require(backend, record, record.pad_token)
        self.unk_id: int | None = backend.token_to_id(record.unk_token)
        self.mask_id: int | None = backend.token_to_id(record.mask_token)
        if isinstance(model, WordPiece):
            _require(backend, record, record.unk_token)
            _require(backend, record, model.unk_token)
        self._special_ids = frozenset(
            {self.cls_id, self.sep_id, self.pad_id, self.unk_id, self.mask_id} - {None}
        )
        backend.no_truncation()
        backend.no_padding()
        _mark_special(backend, record)
        self._backend = backend
        self._added = tuple(map(backend.num_special_tokens_to_add, (False, True)))
        self._least = max(*self._added, 1)
        self._splits_at_spaces = splits_at_spaces(backend)
        self._frame = self._read_frame()
        added = backend.get_added_tokens_decoder().items()
        self._reading = _Reading(
            {index: token.content for index, token in added}, record.token_types
        )
        self._truncating: OrderedDict[tuple[int, str, int], tokenizers.Tokenizer] = OrderedDict()
        self._lock = Lock()
        self._native: NativeTokenizer | None = None

    @classmethod
    def from_file(cls, path: Path, record: TokenizerRecord) -> Tokenizer:
        """Read ``tokenizer.json``.

        Raises:
            TokenizerError: The file is missing, unreadable or malformed, or contradicts the record.
        """
        try:
            text = read_regular_text(path, most=_MOST_BYTES)
        except (OSError, ValueError) as error:
            raise TokenizerError(
                f"tokenizer {path} cannot be read", expected="a UTF-8 file", got=error
            ) from error
        return cls.from_json(text, record)

    @classmethod
    def from_json(cls, text: str, record: TokenizerRecord) -> Tokenizer:
        """The tokenizer that the text of a ``tokenizer.json`` describes.

        Raises:
            TokenizerError: The text is malformed or contradicts the record.
        """
        try:
            with panics_as_errors():
                tokenizer = cls(tokenizers.Tokenizer.from_str(text), record)
        except TokenizerError:
            raise
        except Exception as error:  # the library raises plain Exceptions
            raise TokenizerError(
                f"tokenizer {record.file} is malformed",
                expected=f"a tokenizer.json that tokenizers {tokenizers.__version__} reads",
                got=one_line(error),
            ) from error
        tokenizer._native = open_native(text, record)
        return tokenizer

    @property
    def max_length(self) -> int:
        """Tokens per row, special tokens included."""
        return self.record.max_length

    @property
    def cls_token(self) -> str:
        """Text of the token that opens a row."""
        return self.record.cls_token

    @property
    def sep_token(self) -> str:
        """Text of the token that closes each text of a row."""
        return self.record.sep_token

    @property
    def pad_token(self) -> str:
        """Text of the token that fills a row up."""
        return self.record.pad_token

    @property
    def mask_token(self) -> str:
        """Text of the token that stands for a hidden word."""
        return self.record.mask_token

    @property
    def required_mask_id(self) -> int:
        """Id of the token that stands for a hidden word.

        Raises:
            TokenizerError: The vocabulary has none.
        """
        if self.mask_id is None:
            raise TokenizerError(
                f"tokenizer {self.record.file} has no mask token",
                expected=f"{self.mask_token} in the vocabulary",
                got="a vocabulary without it",
            )
        return self.mask_id

    @property
    def unk_token(self) -> str:
        """Text of the token that stands for an unknown word."""
        return self.record.unk_token

    def token_to_id(self, text: str) -> int | None:
        """The token's id, ``None`` where it is not in the vocabulary."""
        try:
            found: int | None = self._backend.token_to_id(text)
        except UnicodeEncodeError:  # half a surrogate pair
            return None
        return found

    def id_to_token(self, index: int) -> str:
        """The token of an id.

        Raises:
            InputError: No token has that id.
        """
        token: str | None = self._backend.id_to_token(int(index)) if index >= 0 else None
        if token is None:
            raise InputError(
                f"token id {index} is not in the vocabulary",
                expected=f"0 to {self.vocab_size - 1}",
                got=index,
            )
        return token

    def ids_to_tokens(self, ids: Iterable[int]) -> list[str]:
        """The tokens of ids; see :meth:`id_to_token`."""
        return [self.id_to_token(index) for index in ids]

    def tokenize(self, text: str) -> list[str]:
        """The tokens of a text, without special tokens of the model and without truncation.

        Raises:
            InputError: It is no text, or not valid Unicode.
        """
        prepared = _prepare([text], is_split_into_words=False)
        (encoding,) = self._run(self._backend, prepared, add_special_tokens=False)
        tokens: list[str] = encoding.tokens
        return tokens

    def join(self, tokens: Sequence[str]) -> str:
        """The text that tokens spell, by ``tokenizer.json``'s own decoder."""
        decoder = self._backend.decoder
        text: str = " ".join(tokens) if decoder is None else decoder.decode(list(tokens))
        return text

    def decode(
        self, ids: Iterable[int], *, skip_special_tokens: bool = True, clean_up: bool = True
    ) -> str:
        """The text that ids spell; an id without a token spells nothing.

        Args:
            ids: Token ids, (S,).
            skip_special_tokens: Whether ``[CLS]`` and its like are left out.
            clean_up: Whether spaces before English punctuation and contractions are removed beyond
                what ``tokenizer.json``'s own decoder removes (upstream's
                ``clean_up_tokenization_spaces``).

        Raises:
            InputError: An id is negative.
        """
        plain = [int(index) for index in ids]
        if any(index < 0 for index in plain):
            raise InputError("token ids are out of range", expected="none below 0", got=min(plain))
        text: str = self._backend.decode(plain, skip_special_tokens=skip_special_tokens)
        if clean_up:
            for spaced in _SPACED:
                text = text.replace(spaced, spaced.strip(" "))
        return text

    def spell(self, ids: Iterable[int], *, skip_special_tokens: bool) -> str:
        """As :meth:`decode`, with spaces cleaned up where the checkpoint's tokenizer does so."""
        return self.decode(
            ids,
            skip_special_tokens=skip_special_tokens,
            clean_up=self.record.clean_up_tokenization_spaces,
        )

    def encode(
        self,
        texts: Sequence[Text],
        *,
        max_length: int | None = None,
        truncation: Truncation = "longest_first",
        stride: int = 0,
        windows: bool = False,
        add_special_tokens: bool = True,
        is_split_into_words: bool = False,
    ) -> list[list[Encoded]]:
        """Encode texts, pairs of texts or lists of words.

        Args:
            texts: One ``str`` or ``(text, text_pair)`` each; a sequence of words each with
                ``is_split_into_words``.
            max_length: Tokens per encoding, special tokens included; the record's when ``None``.
            truncation: Which text of a pair is cut; ``none`` cuts nothing and refuses what is
                longer than ``max_length``.
            stride: Tokens that a window shares with the one before.
            windows: Whether the rest of a cut text follows as further windows.
            add_special_tokens: Whether ``[CLS]`` and ``[SEP]`` are added.
            is_split_into_words: Whether each text is a sequence of words.

        Returns:
            For each text its encoding, followed by its further windows with ``windows``.

        Raises:
            InputError: A text is no text or too long to be cut as told, or an option does not fit.
        """
        usual = truncation == "longest_first" and not (stride or windows or is_split_into_words)
        if usual and isinstance(texts, list | tuple):
            rows = self._encode_usual(texts, self._limit(max_length), add_special_tokens)
            if rows is not None:
                return rows
        prepared = _prepare(texts, is_split_into_words=is_split_into_words)
        limit = self._limit(max_length)
        if truncation not in _TRUNCATIONS:
            raise InputError(
                f"truncation {shown(truncation)} is unknown", **one_of(truncation, _TRUNCATIONS)
            )
        if not prepared:
            return []
        if truncation == "none":
            whole = self._run(self._backend, prepared, add_special_tokens=add_special_tokens)
            _refuse_longer(prepared, whole, limit)
            return [[self._read(encoding)] for encoding in whole]
        paired = any(isinstance(text, tuple) for text in prepared)
        added = self._added[paired] if add_special_tokens else 0
        if limit < max(added, 1):
            raise InputError(
                "max_length is too small", expected=f"at least {max(added, 1)}", got=limit
            )
        # The library counts the special tokens of a text here even where none are added.
        room = limit - max(added, self._added[0])
        if stride < 0 or (stride > 0 and stride >= room):
            raise InputError(
                f"stride {stride} does not fit max_length {limit}",
                expected=f"0 to {max(room - 1, 0)}",
                got=stride,
            )
        if not windows and self.record.truncation_side == "right":
            prepared = self._shorten(prepared, limit - added, truncation)
        encodings = self._truncate(
            prepared,
            limit,
            truncation,
            stride,
            paired=paired,
            add_special_tokens=add_special_tokens,
        )
        if windows:
            return [
                [self._read(window) for window in (encoding, *encoding.overflowing)]
                for encoding in encodings
            ]
        return [[self._read(encoding)] for encoding in encodings]

    def _encode_usual(
        self,
        texts: Sequence[Text],
        limit: int,
        add_special_tokens: bool,  # noqa: FBT001
    ) -> list[list[Encoded]] | None:
        """What :meth:`encode` answers, without the steps that do nothing for the usual texts.

        Args:
            texts: Whatever the caller passed.
            limit: Tokens per row.
            add_special_tokens: See :meth:`encode`.

        Returns:
            ``None`` where a text is not usual: it is of another type, a pair where the compiled
            module is absent, or so long that its end is looked for first.
        """
        if limit < self._least or not texts:
            return None

        def again(index: int) -> Encoded:
            return self._encode_alone(texts[index], limit, add_special_tokens)

        native, most = self._native, limit * _SHORT
        if len(texts) == 1 and type(texts[0]) is str:
            text = texts[0]
            if native is None:
                return [[again(0)]] if len(text) <= limit else None
            if len(text) > most:
                return None
            row = native.encode_text(text, limit, again, add_special_tokens=add_special_tokens)
            return None if row is None else [[row]]
        if native is None:
            return None
        sides = _sides(texts)
        if sides is None or any(
            type(text) is not str or len(text) > most for text in chain(*sides)
        ):
            return None
        rows = native.encode(*sides, limit, add_special_tokens=add_special_tokens, again=again)
        return None if rows is None else [[row] for row in rows]

    def native_tagger(self, labels: Sequence[str]) -> NativeTagger | None:
        """The compiled module's tagger of this tokenizer's rows; ``None`` where it is not used."""
        return None if self._native is None else self._native.tagger(labels)

    def _encode_alone(self, text: Text, limit: int, add_special_tokens: bool) -> Encoded:  # noqa: FBT001
        backend = self._truncating_backend(limit, "longest_first", 0)
        prepared = [cast("Prepared", text)]
        return self._read(self._run(backend, prepared, add_special_tokens=add_special_tokens)[0])

    def count_special_tokens(self, *, pair: bool) -> int:
        """How many special tokens frame a text, or a pair of texts."""
        frame = self._frame
        return len((*frame.before, *frame.after, *(frame.between if pair else ())))

    def _read(self, encoding: Encoding) -> Encoded:
        return _LibraryEncoding(encoding, self._reading)

    def build_inputs_with_special_tokens(
        self, ids0: Sequence[int], ids1: Sequence[int] | None = None
    ) -> list[int]:
        """Ids of ``[CLS] A [SEP]``, or ``[CLS] A [SEP] B [SEP]`` for a pair."""
        frame = self._frame
        second = () if ids1 is None else (*frame.between, *ids1)
        return [*frame.before, *ids0, *second, *frame.after]

    def get_special_tokens_mask(
        self,
        ids0: Sequence[int],
        ids1: Sequence[int] | None = None,
        already_has_special_tokens: bool = False,  # noqa: FBT001, FBT002 - upstream's signature
    ) -> list[int]:
        """1 for each special token of the built row, 0 for each other.

        Args:
            ids0: Ids of the first text, or of the whole row.
            ids1: Ids of the second text.
            already_has_special_tokens: Whether ``ids0`` is a whole row.

        Raises:
            InputError: A second text is given beside a whole row.
        """
        if already_has_special_tokens:
            if ids1 is not None:
                raise InputError(
                    "ids of a second text do not fit a whole row", expected="ids0 alone", got="both"
                )
            return [int(index in self._special_ids) for index in ids0]
        frame = self._frame
        second = () if ids1 is None else (*(1 for _ in frame.between), *(0 for _ in ids1))
        return [
            *(1 for _ in frame.before),
            *(0 for _ in ids0),
            *second,
            *(1 for _ in frame.after),
        ]

    def create_token_type_ids_from_sequences(
        self, ids0: Sequence[int], ids1: Sequence[int] | None = None
    ) -> list[int]:
        """0 for each token of ``[CLS] A [SEP]``, 1 for each of ``B [SEP]``.

        All are 0 where the tokenizer does not tell the two apart.
        """
        frame = self._frame
        first, between, second, last = frame.types
        types = [first] * (len(frame.before) + len(ids0))
        if ids1 is None:
            return types + [first] * len(frame.after)
        return [
            *types,
            *[between] * len(frame.between),
            *[second] * len(ids1),
            *[last] * len(frame.after),
        ]

    def save_vocabulary(self, folder: str | Path, filename_prefix: str | None = None) -> tuple[str]:
        """Write ``vocab.txt``: one token a line, in the order of their ids.

        Args:
            folder: A folder that exists.
            filename_prefix: Put before the name, with a dash.

        Returns:
            The path written.

        Raises:
            InputError: The folder does not exist.
            TokenizerError: The ids have gaps or a token spans lines, which no such file can say.
        """
        target = Path(folder, f"{filename_prefix}-vocab.txt" if filename_prefix else "vocab.txt")
        if not target.parent.is_dir():
            raise InputError(f"folder {folder} does not exist", fix="Create it first")
        vocabulary: dict[str, int] = self._backend.get_vocab(with_added_tokens=False)
        tokens = sorted(vocabulary, key=vocabulary.__getitem__)
        last = vocabulary[tokens[-1]]
        if last != len(tokens) - 1 or any("\n" in token for token in tokens):
            raise TokenizerError(
                f"tokenizer {self.record.file} has a vocabulary that vocab.txt cannot hold",
                expected="ids without gaps and tokens without line ends",
                got=f"{len(tokens)} tokens, last id {last}",
            )
        write_whole(target, "".join(f"{token}\n" for token in tokens).encode())
        return (str(target),)

    def _limit(self, max_length: int | None) -> int:
        if max_length is None:
            return self.max_length
        if max_length > self.max_length:
            raise InputError(
                "max_length is above the model's",
                expected=f"at most {self.max_length}",
                got=max_length,
            )
        return max_length

    def _read_frame(self) -> _Frame:
        """How rows are framed, as a pair of texts shows it.

        Raises:
            TokenizerError: No ``cls_token`` opens a row, or no ``sep_token`` closes a text.
        """
        single: list[int] = self._backend.encode("").ids
        pair: Encoding = self._backend.encode("", "")
        for text in _PROBES:
            pair = self._backend.encode(text, text)
            if {0, 1} <= set(pair.sequence_ids):
                break
        ids, sides = pair.ids, pair.sequence_ids
        if single == [self.cls_id, self.sep_id] and {0, 1} <= set(sides):
            first, last = sides.index(0), len(sides) - 1 - sides[::-1].index(1)
            middle = len(sides) - 1 - sides[::-1].index(0) + 1, sides.index(1)
            frame = _Frame(
                before=tuple(ids[:first]),
                between=tuple(ids[slice(*middle)]),
                after=tuple(ids[last + 1 :]),
                types=(
                    pair.type_ids[first],
                    pair.type_ids[middle[0]],
                    pair.type_ids[last],
                    pair.type_ids[-1],
                ),
            )
            if (
                frame.before == (self.cls_id,)
                and set(frame.between) == {self.sep_id}
                and frame.after == (self.sep_id,)
            ):
                return frame
        raise TokenizerError(
            f"tokenizer {self.record.file} does not frame texts as BERT does",
            expected=f"{self.cls_token} A {self.sep_token} B {self.sep_token}",
            got=" ".join(self.ids_to_tokens(self._backend.encode("", "").ids))
            or "no special tokens",
        )

    def _truncating_backend(
        self, limit: int, truncation: Truncation, stride: int
    ) -> tokenizers.Tokenizer:
        setting = (limit, truncation, stride)
        with self._lock:
            if setting in self._truncating:
                self._truncating.move_to_end(setting)
                return self._truncating[setting]
            backend = _share(self._backend)
            backend.enable_truncation(
                limit,
                stride=stride,
                strategy=truncation,
                direction=self.record.truncation_side,
            )
            self._truncating[setting] = backend
            if len(self._truncating) > _CACHED_SETTINGS:
                self._truncating.popitem(last=False)
            return backend

    def _shorten(
        self, prepared: list[Prepared], room: int, truncation: Truncation
    ) -> list[Prepared]:
        """Texts that are cut to the same rows, without what is far beyond them."""

        def count(text: str | list[str]) -> int:
            return len(self._run(self._backend, [text], add_special_tokens=False)[0])

        return [
            shorten(text, room, count, longest_first=truncation == "longest_first")
            if isinstance(text, list) or self._splits_at_spaces
            else text
            for text in prepared
        ]

    def _truncate(
        self,
        prepared: list[Prepared],
        limit: int,
        truncation: Truncation,
        stride: int,
        *,
        paired: bool,
        add_special_tokens: bool,
    ) -> list[Encoding]:
        backend = self._truncating_backend(limit, truncation, stride)
        may_fail = truncation == "only_second" or (paired and truncation == "only_first")
        if not (may_fail or (paired and stride)):
            return self._run(backend, prepared, add_special_tokens=add_special_tokens)
        # Here the library can fail, and with a stride it aborts its thread: look before.
        encodings = self._run(self._backend, prepared, add_special_tokens=add_special_tokens)
        longer = [index for index, encoding in enumerate(encodings) if len(encoding) > limit]
        for index in longer:
            _check_room(prepared[index], encodings[index], limit, truncation, stride)
        if longer:
            cut = self._run(
                backend,
                [prepared[index] for index in longer],
                add_special_tokens=add_special_tokens,
            )
            for index, encoding in zip(longer, cut, strict=True):
                encodings[index] = encoding
        return encodings

    def _run(
        self, backend: tokenizers.Tokenizer, prepared: list[Prepared], *, add_special_tokens: bool
    ) -> list[Encoding]:
        words = isinstance(prepared[0], list)
        try:
            with panics_as_errors():
                if len(prepared) == 1:
                    text = prepared[0]
                    first, second = text if isinstance(text, tuple) else (text, None)
                    return [backend.encode(first, second, words, add_special_tokens)]
                encodings: list[Encoding] = backend.encode_batch(
                    prepared, words, add_special_tokens
                )
        except Exception as error:  # the library raises plain Exceptions
            _refuse_surrogates(prepared)
            raise InputError("texts cannot be tokenized", got=error) from error
        return encodings


class _LibraryEncoding(Encoded):
    """An encoding of the ``tokenizers`` library, whose fields are read when they are asked for.

    To read all of them takes longer than to tokenize the text, and most tasks need the ids alone.
    """

    _encoding: Encoding

    _reading: _Reading

    def __init__(self, encoding: Encoding, reading: _Reading) -> None:
        own = self.__dict__  # the class is frozen
        own["_encoding"] = encoding
        own["_reading"] = reading
        own["ids"] = encoding.ids
        own["type_ids"] = encoding.type_ids if reading.token_types else [0] * len(encoding)

    @on_demand
    def tokens(self) -> Sequence[str]:
        added = self._reading.added
        return [
            added.get(index, token)
            for index, token in zip(self.ids, self._encoding.tokens, strict=True)
        ]

    @on_demand
    def offsets(self) -> Sequence[tuple[int, int]]:
        return self._encoding.offsets  # type: ignore[no-any-return]

    @on_demand
    def word_ids(self) -> Sequence[int | None]:
        return self._encoding.word_ids  # type: ignore[no-any-return]

    @on_demand
    def sequence_ids(self) -> Sequence[int | None]:
        return self._encoding.sequence_ids  # type: ignore[no-any-return]

    @on_demand
    def special_tokens_mask(self) -> Sequence[int]:
        return self._encoding.special_tokens_mask  # type: ignore[no-any-return]

    @on_demand
    def overflowing(self) -> Sequence[Encoded]:
        return tuple(
            _LibraryEncoding(window, self._reading) for window in self._encoding.overflowing
        )


def _require(backend: tokenizers.Tokenizer, record: TokenizerRecord, token: str) -> int:
    found: int | None = backend.token_to_id(token)
    if found is None:
        raise TokenizerError(
            f"tokenizer {record.file} lacks the special token {token}",
            expected=f"{token} in the vocabulary",
            got="a vocabulary without it",
        )
    return found


def _mark_special(backend: tokenizers.Tokenizer, record: TokenizerRecord) -> None:
    """Keep the record's special tokens whole in texts, as upstream does on loading."""
    known = {token.content for token in backend.get_added_tokens_decoder().values()}
    texts = (
        record.unk_token,
        record.sep_token,
        record.pad_token,
        record.cls_token,
        record.mask_token,
    )
    backend.add_special_tokens(
        [
            AddedToken(text, special=True, normalized=False)
            for text in texts
            if text not in known and backend.token_to_id(text) is not None
        ]
    )


def _share(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """Another tokenizer over the same vocabulary, without truncation."""
    other = tokenizers.Tokenizer(backend.model)
    for part in ("normalizer", "pre_tokenizer", "post_processor", "decoder"):
        value = getattr(backend, part)
        if value is not None:
            setattr(other, part, value)
    added = backend.get_added_tokens_decoder()
    other.add_tokens([added[index] for index in sorted(added)])
    return other


def _prepare(texts: Sequence[Text], *, is_split_into_words: bool) -> list[Prepared]:
    if isinstance(texts, str):
        raise InputError("texts is a single text", expected="a list of texts", got="str")
    prepared: list[Prepared] = []
    for index, text in enumerate(texts):
        words = not isinstance(text, str) and _all_strings(text)
        if is_split_into_words and words:
            prepared.append(list(text))
        elif not is_split_into_words and (isinstance(text, str) or (words and _is_pair(text))):
            prepared.append(text)
        else:
            raise InputError(
                f"text {index} is of the wrong type",
                expected="a sequence of words" if is_split_into_words else "a str or a pair of str",
                got=type(text).__name__,
            )
    return prepared


def _sides(texts: Sequence[Text]) -> tuple[Sequence[str], Sequence[str]] | None:
    """First texts, and second ones where all are pairs; ``None`` where pairs stand beside texts."""
    if type(texts[0]) is not tuple:
        return cast("Sequence[str]", texts), ()
    if not all(type(pair) is tuple and len(pair) == 2 for pair in texts):
        return None
    return [pair[0] for pair in texts], [pair[1] for pair in texts]


def _all_strings(text: object) -> bool:
    return isinstance(text, Sequence) and all(isinstance(part, str) for part in text)


def _is_pair(text: object) -> TypeGuard[tuple[str, str]]:
    return isinstance(text, tuple) and len(text) == len(("text", "text_pair"))


def _refuse_longer(texts: Sequence[Prepared], encodings: Sequence[Encoding], limit: int) -> None:
    for text, encoding in zip(texts, encodings, strict=True):
        if len(encoding) > limit:
            raise InputError(
                f"text {shown(text)} is too long",
                expected=f"at most {limit} tokens, special tokens included",
                got=f"{len(encoding)} tokens",
                fix="Shorten it, or turn truncation on",
            )


def _refuse_surrogates(prepared: Sequence[Prepared]) -> None:
    for text in prepared:
        try:
            "".join(text).encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"text {shown(text)} is not valid Unicode",
                expected="no lone surrogates",
                got=f"{error.object[error.start]!a}",
            ) from error


def _check_room(
    text: Prepared,
    encoding: Encoding,
    limit: int,
    truncation: Truncation,
    stride: int,
) -> None:
    """Refuse a text that the library could not cut to ``limit`` with that stride.

    Args:
        text: The text or pair.
        encoding: Its encoding, uncut and too long.
        limit: Tokens that it must not exceed.
        truncation: Which text of a pair would be cut.
        stride: Tokens that a window would share with the one before.
    """
    sides = encoding.sequence_ids
    first, second = sides.count(0), sides.count(1)
    excess = len(encoding) - limit
    room = first + second - excess
    if room == 0:  # then the library empties both
        return
    if truncation == "longest_first":
        shorter, half = min(first, second), room // 2
        kept = [room - shorter] if shorter <= half else [half, room - half]
        fits = not any(0 < size <= stride for size in kept)
    else:
        cut = first if truncation == "only_first" else second
        fits = cut - excess > stride
        if truncation == "only_second" and not isinstance(text, tuple):
            raise InputError(
                f"text {shown(text)} is too long and has no second text to cut",
                expected=f"at most {limit} tokens",
                got=f"{len(encoding)} tokens",
            )
    if not fits:
        raise InputError(
            f"text {shown(text)} cannot be cut to max_length {limit}",
            expected=f"room for more than {stride} tokens of the text that is cut ({truncation})",
            got=f"a pair of {first} and {second} tokens",
            fix="Shorten the text that is kept whole, or lower the stride",
        )
