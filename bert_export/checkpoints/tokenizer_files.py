"""A checkpoint's tokenizer as one ``tokenizer.json``, whatever files the checkpoint has."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

from bert_export.checkpoints.files import MOST_BYTES, first_line, read_json
from bert_export.checkpoints.tokenizer_classes import (
    BERT_TOKENS,
    TOKENIZER_CLASSES,
    TokenizerClass,
    find_class,
)
from bert_export.errors import TokenizerError, one_line, shown
from bert_export.foreign_errors import PanicError, panics_as_errors
from bert_export.regular_files import read_regular_text

__all__ = ["TokenizerFiles", "read_tokenizer"]

_JSON, _VOCABULARY = "tokenizer.json", "vocab.txt"
_CONFIG, _SPECIAL, _ADDED = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
_SPECIAL_KEYS = ("bos_token", "eos_token", *BERT_TOKENS)
_SANE_LENGTH = 1_000_000
Side = Literal["right", "left"]
_SIDES: tuple[Side, ...] = get_args(Side)
_CLEAN_UP = "clean_up_tokenization_spaces"
_INPUTS = "model_input_names"


@dataclass(frozen=True, kw_only=True)
class TokenizerFiles:
    """All that the runtime needs of a tokenizer.

    Args:
        json: Content of a ``tokenizer.json`` without truncation and padding.
        max_length: Longest row that the tokenizer's config allows; ``None`` if it does not say.
        do_lower_case: Whether text is lower-cased before it is split.
        cls_token: Text of the first token.
        sep_token: Text of the token after each segment.
        pad_token: Text of the token that fills rows.
        mask_token: Text of the token that hides a word.
        unk_token: Text of the token for words that the vocabulary cannot spell.
        clean_up_tokenization_spaces: Whether decoding removes spaces before punctuation.
        truncation_side: The end at which a row that is too long is cut, ``right`` or ``left``.
        token_types: Whether token types tell the two texts of a pair apart; where not, all are 0.
        case_is_open: Whether ``do_lower_case`` is BERT's default, and no file says it.
    """

    json: str
    max_length: int | None
    do_lower_case: bool
    cls_token: str
    sep_token: str
    pad_token: str
    mask_token: str
    unk_token: str
    clean_up_tokenization_spaces: bool = False
    truncation_side: Side = "right"
    token_types: bool = True
    case_is_open: bool = False

    def with_case(self, *, lower: bool) -> TokenizerFiles:
        """The same tokenizer, whose normalizer lower-cases or not.

        Accents go with the case where the settings do not say otherwise.
        """
        if lower == self.do_lower_case:
            return self
        tokenizer = Tokenizer.from_str(self.json)
        normalizer = tokenizer.normalizer
        assert isinstance(normalizer, normalizers.BertNormalizer), "the case would not be open"
        normalizer.lowercase = lower
        tokenizer.normalizer = normalizer
        return replace(self, json=tokenizer.to_str(), do_lower_case=lower)

    def with_lower_case(self) -> TokenizerFiles:
        """The same tokenizer, with lower-casing as the first step."""
        tokenizer = Tokenizer.from_str(self.json)
        steps = [] if tokenizer.normalizer is None else [tokenizer.normalizer]
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *steps])
        return replace(self, json=tokenizer.to_str(), do_lower_case=True, case_is_open=False)


@dataclass(frozen=True, kw_only=True)
class _Settings:
    """The tokenizer's config files, merged and checked."""

    kind: TokenizerClass
    do_lower_case: bool
    states_case: bool
    strip_accents: bool | None
    tokenize_chinese_chars: bool
    clean_up: bool | None
    add_prefix_space: bool
    trim_offsets: bool
    token_types: bool
    truncation_side: Side | None
    max_length: int | None
    specials: dict[str, AddedToken | str]
    additional: tuple[AddedToken | str, ...]
    added: dict[int, AddedToken]
    lists_added: bool

    def text(self, key: str) -> str:
        """The special token's text: as declared, or its class's, or BERT's."""
        default = self.kind.tokens.get(key, BERT_TOKENS[key])
        return str(_content(self.specials.get(key, default)))


def read_tokenizer(folder: Path, *, vocab_size: int, class_name: object = None) -> TokenizerFiles:
    """Read ``tokenizer.json``, or else ``vocab.txt``, and the settings beside it.

    Args:
        folder: The checkpoint.
        vocab_size: Rows of the word embedding table. The ids of all tokens that the vocabulary
            itself can produce are below; tokens that are merely declared may be beyond.
        class_name: ``tokenizer_class`` of ``config.json``, which counts where
            ``tokenizer_config.json`` names none.

    Returns:
        The tokenizer. It splits as the original's ``AutoTokenizer`` of that folder does.

    Raises:
        TokenizerError: Files are missing, malformed, contradictory or too large for the model, or
            the class splits by code of its own.
    """
    try:
        with panics_as_errors():
            return _read(folder, vocab_size, class_name)
    except PanicError as error:
        raise TokenizerError(
            f"checkpoint {folder} has a tokenizer that the tokenizers library fails at",
            expected="files that belong together",
            got=one_line(error),
        ) from error


def _read(folder: Path, vocab_size: int, class_name: object) -> TokenizerFiles:
    settings = _read_settings(folder, class_name)
    # The tokenizer itself.
    is_stored = (folder / _JSON).is_file()
    if is_stored:
        tokenizer = _read_stored(folder / _JSON)
    elif settings.kind.splits_as_bert:
        vocabulary = _read_vocabulary(folder / _VOCABULARY)
        _check_frame(folder, vocabulary, settings)
        tokenizer = _build(vocabulary, settings.text("unk_token"))
    else:
        raise TokenizerError(
            f"checkpoint {folder} needs {_JSON}, for its tokenizer does not split as BERT's does"
        )
    padding, stored_case = tokenizer.padding, _lower_cases(tokenizer) if is_stored else None
    side = settings.truncation_side or (tokenizer.truncation or {}).get("direction", "right")
    tokenizer.no_truncation()
    tokenizer.no_padding()
    if is_stored:
        settings = _with_stored_tokens(settings, tokenizer, padding)
    # What the settings change of it.
    _apply_flags(tokenizer, settings)
    _add_tokens(tokenizer, settings)
    texts = {key: settings.text(key) for key in BERT_TOKENS}
    _check_specials(folder, tokenizer, texts)
    if not is_stored:
        tokenizer.post_processor = _template(tokenizer, settings)
    if not settings.token_types:
        _drop_types(tokenizer, settings)
    if isinstance(vocab_size, int):  # the config is checked later
        _check_size(folder, tokenizer, texts, vocab_size)
    # Where nothing says so, the original cleans up over vocab.txt, and not over tokenizer.json.
    clean_up = not is_stored if settings.clean_up is None else settings.clean_up
    return TokenizerFiles(
        json=tokenizer.to_str(),
        max_length=settings.max_length,
        do_lower_case=_lower_cases(tokenizer),
        clean_up_tokenization_spaces=clean_up,
        truncation_side=side,
        token_types=settings.token_types,
        case_is_open=_case_is_open(tokenizer, settings, stored_case=stored_case),
        **texts,
    )


def _read_stored(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_str(read_regular_text(path, most=MOST_BYTES))
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            f"file {path} is malformed", expected="a tokenizer of the tokenizers library",
            got=first_line(error),
        ) from error  # fmt: skip


def _read_vocabulary(path: Path) -> dict[str, int]:
    """Tokens with their line numbers; the last of two equal lines wins, as in the original."""
    try:
        text = read_regular_text(path, most=MOST_BYTES)
    except FileNotFoundError as error:
        raise TokenizerError(
            f"checkpoint {path.parent} has no tokenizer",
            expected=f"{_JSON} or {_VOCABULARY}",
            got="neither",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(
            f"file {path} cannot be read", expected="UTF-8 text, one token a line", got=error
        ) from error
    lines = io.StringIO(text, newline=None)  # any kind of line end, as in the original
    return {line.rstrip("\n"): index for index, line in enumerate(lines)}


def _build(vocabulary: dict[str, int], unk_token: str) -> Tokenizer:
    """BERT's WordPiece tokenizer over a vocabulary.

    A vocabulary without the unknown token gets it behind its last one, for which the model has no
    vector: a text with an unknown word is refused, any other is answered.
    """
    vocabulary.setdefault(unk_token, max(vocabulary.values(), default=-1) + 1)
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token=unk_token))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    return tokenizer


def _template(tokenizer: Tokenizer, settings: _Settings) -> processors.TemplateProcessing:
    """``[CLS] A [SEP]`` and ``[CLS] A [SEP] B [SEP]``, the second segment of type 1."""
    cls, sep = settings.text("cls_token"), settings.text("sep_token")
    try:
        return processors.TemplateProcessing(
            single=[f"{cls}:0", "$A:0", f"{sep}:0"],
            pair=[f"{cls}:0", "$A:0", f"{sep}:0", "$B:1", f"{sep}:1"],
            special_tokens=[(text, tokenizer.token_to_id(text)) for text in (cls, sep)],
        )
    except Exception as error:  # the library raises bare Exception
        raise TokenizerError(
            "special tokens cannot frame a text",
            expected="a cls_token and a sep_token without blanks and colons",
            got=f"{cls!r} and {sep!r}",
        ) from error


def _drop_types(tokenizer: Tokenizer, settings: _Settings) -> None:
    """Give both segments the token type 0, for a model that takes no types."""
    framing: Any = tokenizer.post_processor
    if isinstance(framing, processors.BertProcessing):
        framing = _template(tokenizer, settings)
    if framing is None:
        return
    state = _state(framing)
    for step in state.get("processors", [state]):
        for piece in (*step.get("single", ()), *step.get("pair", ())):
            for part in piece.values():
                part["type_id"] = 0
    framing.__setstate__(json.dumps(state).encode())
    tokenizer.post_processor = framing


def _state(part: Any) -> dict[str, Any]:
    """A step of a tokenizer as ``tokenizer.json`` has it."""
    state: dict[str, Any] = json.loads(part.__getstate__())
    return state


def _with_stored_tokens(
    settings: _Settings, tokenizer: Tokenizer, padding: Mapping[str, Any] | None
) -> _Settings:
    """The settings with what ``tokenizer.json`` alone says of the special tokens.

    Args:
        settings: Of the files beside it. Where they do not list the added tokens, the flags that
            ``tokenizer.json`` gives to a special token count.
        tokenizer: Without truncation and padding.
        padding: The padding that it had; it names the padding token.
    """
    specials = dict(settings.specials)
    if not settings.lists_added:
        stored = {token.content: token for token in tokenizer.get_added_tokens_decoder().values()}
        for key, token in specials.items():
            specials[key] = stored.get(str(_content(token)), token)
    found: dict[str, str] = {}
    if padding is not None:
        found["pad_token"] = padding["pad_token"]
    frame = tokenizer.encode("").tokens
    if len(frame) == len(("cls_token", "sep_token")):
        found["cls_token"], found["sep_token"] = frame
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown:
        found["unk_token"] = unknown
    # The class's own tokens count before those that were found, but for the padding.
    of_class = settings.kind.tokens.keys() - {"pad_token"}
    for key, text in found.items():
        if key not in of_class:
            specials.setdefault(key, text)
    return replace(settings, specials=specials)


def _apply_flags(tokenizer: Tokenizer, settings: _Settings) -> None:
    """Let the settings overrule the flags of the tokenizer's steps, as its class does."""
    normalizer, splitter = tokenizer.normalizer, tokenizer.pre_tokenizer
    if settings.kind.splits_as_bert and isinstance(normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=normalizer.clean_text,
            handle_chinese_chars=settings.tokenize_chinese_chars,
            strip_accents=settings.strip_accents,
            lowercase=settings.do_lower_case,
        )
    if isinstance(splitter, pre_tokenizers.ByteLevel):
        splitter.add_prefix_space = settings.add_prefix_space
        tokenizer.pre_tokenizer = splitter
    framing = tokenizer.post_processor
    if settings.kind.trims_offsets and isinstance(framing, processors.RobertaProcessing):
        state = _state(framing)
        tokenizer.post_processor = processors.RobertaProcessing(
            sep=tuple(state["sep"]),
            cls=tuple(state["cls"]),
            trim_offsets=settings.trim_offsets,
            add_prefix_space=settings.add_prefix_space,
        )


def _add_tokens(tokenizer: Tokenizer, settings: _Settings) -> None:
    """Add the tokens that the settings declare and the tokenizer lacks, in the settings' order.

    A token that the tokenizer has with other flags takes the declared ones.
    """
    known = tokenizer.get_added_tokens_decoder().values()
    known_forms = {repr(token) for token in known}
    known_texts = {token.content for token in known}
    specials = list(_all_specials(settings))
    special_texts = {_content(token) for token in specials}
    added: list[AddedToken] = []
    for _, token in sorted(settings.added.items()):
        if repr(token) not in known_forms:
            token.special = token.special or token.content in special_texts
            added.append(token)
            known_texts.add(token.content)
    for special in specials:
        if isinstance(special, str):
            if special not in known_texts:
                added.append(AddedToken(special, special=True))
        else:
            special.special = True
            if special.content not in known_texts or repr(special) not in known_forms:
                added.append(special)
        known_texts.add(str(_content(special)))
    if added:
        tokenizer.add_tokens(added)


def _all_specials(settings: _Settings) -> Iterator[AddedToken | str]:
    """Special tokens: the declared ones or else the class's, then the additional ones."""
    kind = settings.kind
    for key in _SPECIAL_KEYS:
        token = settings.specials.get(key, kind.tokens.get(key))
        if key == "mask_token" and isinstance(token, str) and kind.mask_takes_space:
            yield AddedToken(token, lstrip=True, normalized=kind.mask_normalized)
        elif token is not None:
            yield token
    yield from settings.additional


def _check_frame(folder: Path, vocabulary: Mapping[str, int], settings: _Settings) -> None:
    """Refuse a vocabulary that lacks the tokens of every row, as an empty or foreign file does."""
    listed = {token.content for token in settings.added.values()}
    for key in ("cls_token", "sep_token"):
        if settings.text(key) not in vocabulary and settings.text(key) not in listed:
            raise _without(folder, key, settings.text(key))


def _without(folder: Path, key: str, text: str) -> TokenizerError:
    return TokenizerError(
        f"checkpoint {folder} tokenizer has no {key}",
        expected=f"{text!r} in the vocabulary, or {key} in {_CONFIG}",
    )


def _check_specials(folder: Path, tokenizer: Tokenizer, texts: dict[str, str]) -> None:
    """Refuse a tokenizer without the tokens that a row needs.

    Padding is hidden from every token: where there is no padding token, ``texts`` gets another.
    """
    for key in ("cls_token", "sep_token"):
        if tokenizer.token_to_id(texts[key]) is None:
            raise _without(folder, key, texts[key])
    if tokenizer.token_to_id(texts["pad_token"]) is None:
        texts["pad_token"] = texts["sep_token"]
    if isinstance(tokenizer.model, WordPiece) and texts["unk_token"] not in tokenizer.get_vocab(
        with_added_tokens=False
    ):
        raise TokenizerError(
            f"checkpoint {folder} vocabulary has no unknown token",
            expected=f"{texts['unk_token']!r}, the unk_token",
        )


def _check_size(folder: Path, tokenizer: Tokenizer, texts: dict[str, str], vocab_size: int) -> None:
    """Refuse a vocabulary of another model.

    Tokens that are merely declared may be beyond the table: the text that uses one is refused. So
    may the empty line of a vocabulary, which no text spells. A row cannot do without its first and
    last token. It can without the padding token, in whose place ``texts`` then gets another: no
    token sees it.
    """
    declared = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    needed = {texts["cls_token"], texts["sep_token"]}
    for token, index in sorted(tokenizer.get_vocab().items(), key=lambda item: -item[1]):
        if index < vocab_size:
            break
        if token in needed or (token and token not in declared):
            raise TokenizerError(
                f"checkpoint {folder} tokenizer has more tokens than the model has vectors",
                expected=f"ids below {vocab_size}, the config's vocab_size",
                got=f"{index} for {token!r}",
                fix="Check that tokenizer and config.json belong together",
            )
        if token == texts["pad_token"]:
            texts["pad_token"] = texts["sep_token"]


def _case_is_open(tokenizer: Tokenizer, settings: _Settings, *, stored_case: bool | None) -> bool:
    """Whether the settings leave the case open, and ``tokenizer.json`` does not say the same."""
    return (
        settings.kind.splits_as_bert
        and not settings.states_case
        and isinstance(tokenizer.normalizer, normalizers.BertNormalizer)
        and stored_case is not settings.do_lower_case
    )


def _lower_cases(tokenizer: Tokenizer) -> bool:
    """Whether any step of the normalizer lower-cases."""
    if tokenizer.normalizer is None:
        return False
    state = _state(tokenizer.normalizer)
    steps = state["normalizers"] if state["type"] == "Sequence" else [state]
    return any(step["type"] == "Lowercase" or step.get("lowercase", False) for step in steps)


def _read_settings(folder: Path, class_name: object) -> _Settings:
    """Merge the config files. Older checkpoints keep their tokens in files of their own."""
    where = folder / _CONFIG
    config = _read_object(where)
    declared: dict[str, Any] = {
        key: config[key] for key in _SPECIAL_KEYS if config.get(key) is not None
    }
    additional = _as_list(config.get("additional_special_tokens"), where)
    extra = _extra(config.get("extra_special_tokens"), where)
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in config:
        added = _read_added(config["added_tokens_decoder"], where)
    else:
        special_map = _read_object(folder / _SPECIAL)
        declared |= {
            key: special_map[key] for key in _SPECIAL_KEYS if special_map.get(key) is not None
        }
        additional += _as_list(special_map.get("additional_special_tokens"), folder / _SPECIAL)
        for text, index in _read_object(folder / _ADDED).items():
            known = (*declared.values(), *additional, *extra)
            special = any(_content(token) == text for token in known)
            added[_as_id(index, folder / _ADDED)] = AddedToken(
                text, normalized=not special, special=special
            )
    by_text = {token.content: token for token in added.values()}
    specials = {key: _as_token(value, where) for key, value in declared.items()}
    if config.get("tokenizer_class") is None:
        config["tokenizer_class"] = class_name
    kind = _class_of(config, where)
    return _Settings(
        kind=kind,
        do_lower_case=_flag(config, "do_lower_case", where, default=True),
        states_case="do_lower_case" in config,
        strip_accents=_flag(config, "strip_accents", where, default=None),
        tokenize_chinese_chars=_flag(config, "tokenize_chinese_chars", where, default=True),
        clean_up=(
            bool(_flag(config, _CLEAN_UP, where, default=None)) if _CLEAN_UP in config else None
        ),
        add_prefix_space=_flag(config, "add_prefix_space", where, default=False),
        trim_offsets=_flag(config, "trim_offsets", where, default=True),
        token_types=_has_types(config, where, kind),
        truncation_side=_side(config, where),
        max_length=_max_length(config),
        specials={
            key: by_text.get(_content(token), token) for key, token in specials.items()
        },
        additional=tuple(_as_token(token, where) for token in [*additional, *extra]),
        added=added,
        lists_added="added_tokens_decoder" in config,
    )  # fmt: skip


def _read_object(path: Path) -> dict[str, Any]:
    """A JSON object; an empty one if there is no such file."""
    return read_json(path, error=TokenizerError) if path.is_file() else {}


def _read_added(raw: object, path: Path) -> dict[int, AddedToken]:
    if not isinstance(raw, dict):
        raise TokenizerError(f"file {path} field added_tokens_decoder is malformed",
                             expected="an object of id: token", got=type(raw).__name__)  # fmt: skip
    added: dict[int, AddedToken] = {}
    for index, form in raw.items():
        token = _as_token(form, path)
        if isinstance(token, str):
            raise TokenizerError(f"file {path} added token {index} is malformed",
                                 expected="an object with its content", got=repr(form))  # fmt: skip
        added[_as_id(index, path)] = token
    return added


def _as_id(raw: object, path: Path) -> int:
    try:
        return int(raw)  # type: ignore[call-overload, no-any-return]
    except (TypeError, ValueError) as error:
        raise TokenizerError(
            f"file {path} has a malformed token id", expected="an integer", got=repr(raw)
        ) from error


def _as_list(raw: object, path: Path) -> list[Any]:
    if raw is None:
        return []
    if not isinstance(raw, list):
        raise TokenizerError(
            f"file {path} field additional_special_tokens is malformed",
            expected="a list",
            got=type(raw).__name__,
        )
    return list(raw)


def _extra(raw: object, path: Path) -> list[Any]:
    """Special tokens under names of the checkpoint's own, or a plain list of them."""
    if raw is None or isinstance(raw, list):
        return list(raw or ())
    if not isinstance(raw, dict):
        raise TokenizerError(
            f"file {path} field extra_special_tokens is malformed",
            expected="an object of name: token",
            got=type(raw).__name__,
        )
    return list(raw.values())


def _as_token(raw: object, path: Path) -> AddedToken | str:
    """A token that is given as its text, or as an object with its text and matching flags."""
    if isinstance(raw, str) and raw:
        return raw
    if isinstance(raw, Mapping) and isinstance(raw.get("content"), str) and raw["content"]:
        flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
        given = {flag: raw[flag] for flag in flags if isinstance(raw.get(flag), bool)}
        return AddedToken(raw["content"], **given)
    raise TokenizerError(
        f"file {path} holds a malformed special token",
        expected="its text, or an object with its content",
        got=repr(raw),
    )


def _content(token: object) -> str:
    if isinstance(token, Mapping):
        return str(token.get("content"))
    return token.content if isinstance(token, AddedToken) else str(token)


def _class_of(config: Mapping[str, Any], path: Path) -> TokenizerClass:
    """The tokenizer class that the config names; BERT's where it names none."""
    name = config.get("tokenizer_class")
    if _flag(config, "split_special_tokens", path, default=False):
        raise TokenizerError(f"file {path} field split_special_tokens is not supported",
                             expected="false", got="true")  # fmt: skip
    if name is not None and not isinstance(name, str):
        raise TokenizerError(f"file {path} field tokenizer_class is malformed", expected="a name",
                             got=repr(name))  # fmt: skip
    kind = find_class(name)
    if kind is None:
        raise TokenizerError(
            f"checkpoint {path.parent} names a tokenizer class that is not supported",
            expected=f"one of {', '.join(TOKENIZER_CLASSES)}",
            got=shown(name or ""),
            fix=f"Give it a {_JSON} that splits as that class does, and name "
            f"PreTrainedTokenizerFast in {_CONFIG}",
        )
    return kind


def _has_types(config: Mapping[str, Any], path: Path, kind: TokenizerClass) -> bool:
    """Whether the model takes token types: as the config says, or else the class."""
    names = config.get(_INPUTS)
    if names is None:
        return kind.token_types
    if not isinstance(names, list):
        raise TokenizerError(
            f"file {path} field {_INPUTS} is malformed", expected="a list", got=repr(names)
        )
    return "token_type_ids" in names


def _side(config: Mapping[str, Any], path: Path) -> Side | None:
    """The end at which rows are cut; ``None`` leaves it to what ``tokenizer.json`` keeps."""
    if "truncation_side" not in config:
        return None
    side = config["truncation_side"]
    for known in _SIDES:
        if side == known:
            return known
    raise TokenizerError(
        f"file {path} field truncation_side is malformed",
        expected=" or ".join(_SIDES),
        got=repr(side),
    )


def _flag(config: Mapping[str, Any], key: str, path: Path, *, default: bool | None) -> Any:
    value = config.get(key, default)
    if not isinstance(value, bool) and not (value is None and default is None):
        raise TokenizerError(
            f"file {path} field {key} is malformed",
            expected="true or false" if default is not None else "true, false or null",
            got=repr(value),
        )
    return value


def _max_length(config: Mapping[str, Any]) -> int | None:
    value = config.get("model_max_length", config.get("max_len"))
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return int(value) if is_number and 0 < value < _SANE_LENGTH else None
