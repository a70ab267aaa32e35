"""The tokenizer that is built equals the original's, token for token."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, processors

from bert_export.checkpoints.tokenizer_files import TokenizerFiles, read_tokenizer
from bert_export.errors import TokenizerError
from tests.oracle import WORDS, write_vocabulary
from tests.other_tokenizers import KINDS, save_other

ROWS = 10_000
MASK = {"content": "[MASK]", "lstrip": True, "rstrip": False, "normalized": False}
ENTITY = {"content": "<ent>", "lstrip": False, "rstrip": False, "normalized": True}
FORMS: list[dict[str, dict[str, Any]]] = [
    {},
    {"tokenizer_config.json": {"do_lower_case": False}},
    {"tokenizer_config.json": {"strip_accents": False}},
    {"tokenizer_config.json": {"strip_accents": True, "do_lower_case": False}},
    {"tokenizer_config.json": {"tokenize_chinese_chars": False, "max_len": 9}},
    {"tokenizer_config.json": {"do_basic_tokenize": False, "never_split": ["naïve"]}},
    {"tokenizer_config.json": {"additional_special_tokens": ["<ent>", "[X1]"]}},
    {"tokenizer_config.json": {"mask_token": "<mask>", "bos_token": "<s>"}},
    {"tokenizer_config.json": {"cls_token": {"__type": "AddedToken", **MASK, "content": "cat"}}},
    {"tokenizer_config.json": {}, "special_tokens_map.json": {"mask_token": MASK}},
    {"tokenizer_config.json": {}, "special_tokens_map.json": {"unk_token": "[UNK]"}},
    {
        "tokenizer_config.json": {"additional_special_tokens": ["<a>"]},
        "special_tokens_map.json": {"additional_special_tokens": ["<b>", "<a>"]},
    },
    {"tokenizer_config.json": {}, "added_tokens.json": {"<ent>": 300, "naive": 301}},
    {
        "tokenizer_config.json": {
            "added_tokens_decoder": {"4": {**MASK, "special": True}, "300": ENTITY},
            "mask_token": "[MASK]",
        }
    },
    {"tokenizer_config.json": {"extra_special_tokens": {"entity": "<ent>", "x_token": "[X1]"}}},
    {"tokenizer_config.json": {"extra_special_tokens": {"a": {"__type": "AddedToken", **ENTITY}}}},
    {
        "tokenizer_config.json": {
            "extra_special_tokens": {"entity": "<ent>"},
            "additional_special_tokens": ["[X1]"],
        }
    },
    {
        "tokenizer_config.json": {"extra_special_tokens": {"entity": "<ent>"}},
        "special_tokens_map.json": {"additional_special_tokens": ["[X1]"]},
    },
]
# Settings of models without token types, such as the original's DistilBERT.
UNTYPED: list[dict[str, Any]] = [
    {"tokenizer_class": "BertTokenizer", "model_input_names": ["input_ids", "attention_mask"]},
    {"tokenizer_class": "DistilBertTokenizer", "model_input_names": ["input_ids"]},
    {"tokenizer_class": "DistilBertTokenizer"},
    {"tokenizer_class": "DistilBertTokenizerFast"},
]
PLACES = ("vocab.txt", "TemplateProcessing", "BertProcessing")
TEXTS = (
    "The naïve CAT sat, École Ürün",
    "中文 mixed 中a 한국어",
    "emoji 😀👍🏽 x",
    "a\x00b\x01\x7f\ufffd c\u200bd\u00a0e\u3000f",
    "[CLS] a [MASK] b[SEP]c [mask] [PAD] <ent> <mask> [X1] <s>",
    "\u0130stanbul ß \ufb01 e\u0301 \u0301",
    "",
    "  ",
    "a" * 120,
)
ALPHABET = st.sampled_from(
    [
        *WORDS,
        *"\u0301\u0130\u0131éÉß中\U0001d4b3\u00a0\u2028\t\x00\x7f\ufffd\u200d#<>[]",
        " ",
        "😀",
        "<ent>",
    ]
)
NASTY = st.lists(ALPHABET, max_size=12).map("".join) | st.text(max_size=20)


def _write(folder: Path, files: dict[str, dict[str, Any]], *, stored: bool) -> None:
    write_vocabulary(folder)
    if not stored:
        for path in folder.glob("*.json"):
            path.unlink()
    else:
        transformers.BertTokenizerFast.from_pretrained(folder).save_pretrained(folder)
        for name in ("special_tokens_map.json", "added_tokens.json"):
            (folder / name).unlink(missing_ok=True)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content))


def _assert_equal(
    original: transformers.BertTokenizerFast, ours: Tokenizer, text: str, pair: str | None
) -> None:
    # The original takes an empty second text for none.
    pair = pair or None
    expected = original(text, pair, return_offsets_mapping=True)
    answered = ours.encode(text, pair)
    assert answered.ids == expected["input_ids"], (text, pair)
    assert answered.type_ids == expected["token_type_ids"]
    assert answered.attention_mask == expected["attention_mask"]
    assert answered.offsets == expected["offset_mapping"]


@pytest.mark.parametrize("stored", [True, False], ids=["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("files", FORMS, ids=json.dumps)
def test_tokens_equal_the_original(
    files: dict[str, dict[str, Any]], stored: bool, tmp_path: Path
) -> None:
    _write(tmp_path, files, stored=stored)
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    files_read = read_tokenizer(tmp_path, vocab_size=ROWS)
    ours = Tokenizer.from_str(files_read.json)
    assert ours.get_vocab() == original.get_vocab()
    assert files_read.do_lower_case == original.do_lower_case
    for key in ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token"):
        assert getattr(files_read, key) == str(getattr(original, key))
    limit = original.model_max_length
    assert files_read.max_length == (limit if limit < 1e6 else None)
    for text in TEXTS:
        for pair in (None, "Zwei [MASK] Ünd"):
            _assert_equal(original, ours, text, pair)


def test_extra_special_tokens_stay_whole(tmp_path: Path) -> None:
    extra = {"entity": "<ent>", "x_token": "[X1]"}
    _write(tmp_path, {"tokenizer_config.json": {"extra_special_tokens": extra}}, stored=False)
    files = read_tokenizer(tmp_path, vocab_size=ROWS)
    assert _tokens(files, "a<ent>b [X1]") == ["[CLS]", "a", "<ent>", "b", "[X1]", "[SEP]"]
    ours = Tokenizer.from_str(files.json)
    assert ours.decode(ours.encode("a <ent> b").ids) == "a b"


def test_extra_special_tokens_may_be_a_list(tmp_path: Path) -> None:
    read = []
    for key in ("extra_special_tokens", "additional_special_tokens"):
        _write(tmp_path, {"tokenizer_config.json": {key: ["<ent>", "[X1]"]}}, stored=False)
        read.append(read_tokenizer(tmp_path, vocab_size=ROWS))
    assert read[0] == read[1]
    assert "<ent>" in _tokens(read[0], "a <ent>")


def _write_pairs(folder: Path, settings: dict[str, Any], place: str) -> None:
    """A folder whose framing of pairs is built from ``vocab.txt``, or stored in either form."""
    _write(folder, {"tokenizer_config.json": settings}, stored=place != "vocab.txt")
    if place == "BertProcessing":
        _store_processor(folder, processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)))


def _store_processor(folder: Path, processor: processors.PostProcessor) -> None:
    content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    content["post_processor"] = json.loads(processor.__getstate__())
    (folder / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("settings", UNTYPED, ids=json.dumps)
def test_both_segments_are_of_type_0_where_the_model_takes_no_types(
    settings: dict[str, Any], place: str, tmp_path: Path
) -> None:
    _write_pairs(tmp_path, settings, place)
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_str(read_tokenizer(tmp_path, vocab_size=ROWS).json)
    for text in TEXTS:
        for pair in (None, "Zwei [MASK] Ünd"):
            expected = original(text, pair, return_offsets_mapping=True)
            assert "token_type_ids" not in expected
            answered = ours.encode(text, pair)
            assert answered.ids == expected["input_ids"]
            assert answered.offsets == expected["offset_mapping"]
            assert set(answered.type_ids) == {0}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "settings",
    [
        {"tokenizer_class": "BertTokenizer"},
        {"tokenizer_class": "DistilBertTokenizer", "model_input_names": ["token_type_ids"]},
    ],
    ids=json.dumps,
)
def test_the_second_segment_is_of_type_1_where_the_model_takes_types(
    settings: dict[str, Any], place: str, tmp_path: Path
) -> None:
    _write_pairs(tmp_path, settings, place)
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)
    ours = Tokenizer.from_str(read_tokenizer(tmp_path, vocab_size=ROWS).json)
    expected = original("the cat", "sat")["token_type_ids"]
    assert ours.encode("the cat", "sat").type_ids == expected == [0, 0, 0, 0, 1, 1]


@pytest.mark.parametrize("settings", [{}, {"truncation_side": "left"}], ids=json.dumps)
def test_truncation_side_equals_the_original(settings: dict[str, Any], tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": settings}, stored=False)
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    side = read_tokenizer(tmp_path, vocab_size=ROWS).truncation_side
    assert side == original.truncation_side == settings.get("truncation_side", "right")


@pytest.mark.parametrize("stored", ["left", "right"])
@pytest.mark.parametrize("settings", [{}, {"truncation_side": "right"}], ids=json.dumps)
def test_stored_truncation_tells_its_side(
    stored: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    _write(tmp_path, {"tokenizer_config.json": settings}, stored=True)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(4, direction=stored)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    side = read_tokenizer(tmp_path, vocab_size=ROWS).truncation_side
    assert side == original.truncation_side == settings.get("truncation_side", stored)


@pytest.fixture(scope="module")
def pairs(
    tmp_path_factory: pytest.TempPathFactory,
) -> list[tuple[transformers.BertTokenizerFast, Tokenizer]]:
    """Original and ours, for three settings."""
    tokenizers = []
    for index in (0, 1, 6):
        folder = tmp_path_factory.mktemp("tokenizer")
        _write(folder, FORMS[index], stored=False)
        ours = Tokenizer.from_str(read_tokenizer(folder, vocab_size=ROWS).json)
        tokenizers.append((transformers.BertTokenizerFast.from_pretrained(folder), ours))
    return tokenizers


@given(text=NASTY, pair=st.none() | NASTY)
def test_nasty_tokens_equal_the_original(
    pairs: list[tuple[transformers.BertTokenizerFast, Tokenizer]], text: str, pair: str | None
) -> None:
    for original, ours in pairs:
        _assert_equal(original, ours, text, pair)


@pytest.mark.parametrize(
    "name", ["bert-base-cased", "bert-base-uncased", "bert-base-multilingual-uncased"]
)
def test_published_vocabularies_equal_the_original(name: str, shared_data: Path) -> None:
    folder = shared_data / "vocab" / name
    original = transformers.BertTokenizerFast.from_pretrained(folder)
    ours = read_tokenizer(folder, vocab_size=len(original))
    assert ours.max_length == 512
    for text in TEXTS:
        _assert_equal(original, Tokenizer.from_str(ours.json), text, None)


def test_published_tokens_are_reproduced(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "vocab" / "bert-base-uncased"
    shutil.copyfile(folder / "vocab.txt", tmp_path / "vocab.txt")
    built = read_tokenizer(tmp_path, vocab_size=30522)
    stored = read_tokenizer(folder, vocab_size=30522)
    assert json.loads(built.json) == json.loads(stored.json)


def test_stored_truncation_and_padding_are_dropped(tmp_path: Path) -> None:
    _write(tmp_path, {}, stored=True)
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=8)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    ours = Tokenizer.from_str(read_tokenizer(tmp_path, vocab_size=ROWS).json)
    assert len(ours.encode("the cat sat on the mat").ids) == 8
    assert len(ours.encode("the cat").ids) == 4


def test_other_tokenizer_classes_keep_their_normalizer(tmp_path: Path) -> None:
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "do_lower_case": False}
    _write(tmp_path, {"tokenizer_config.json": settings}, stored=True)
    assert read_tokenizer(tmp_path, vocab_size=ROWS).do_lower_case
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(TokenizerError, match=r"needs tokenizer\.json"):
        read_tokenizer(tmp_path, vocab_size=ROWS)


def test_the_class_of_transformers_5_splits_as_its_file_says(tmp_path: Path) -> None:
    _write(
        tmp_path, {"tokenizer_config.json": {"tokenizer_class": "TokenizersBackend"}}, stored=True
    )
    newer = read_tokenizer(tmp_path, vocab_size=ROWS)
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert newer == read_tokenizer(tmp_path, vocab_size=ROWS)


def test_lower_casing_can_be_added(tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"do_lower_case": False}}, stored=False)
    cased = read_tokenizer(tmp_path, vocab_size=ROWS)
    lowered = cased.with_lower_case()
    assert (cased.do_lower_case, lowered.do_lower_case) == (False, True)
    assert _tokens(cased, "Cat") == ["[CLS]", "Cat", "[SEP]"]
    assert _tokens(lowered, "Cat") == ["[CLS]", "cat", "[SEP]"]
    assert _tokens(lowered.with_lower_case(), "École") == _tokens(lowered, "École")


def _tokens(files: TokenizerFiles, text: str) -> list[str]:
    tokens: list[str] = Tokenizer.from_str(files.json).encode(text).tokens
    return tokens


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": []}, "expected a JSON object, got list"),
        ({"tokenizer_config.json": {"do_lower_case": "yes"}}, "do_lower_case is malformed"),
        ({"tokenizer_config.json": {"do_lower_case": None}}, "expected true or false, got None"),
        ({"tokenizer_config.json": {"strip_accents": 1}}, "expected true, false or null"),
        ({"tokenizer_config.json": {"cls_token": 7}}, "malformed special token"),
        ({"tokenizer_config.json": {"cls_token": {"content": 7}}}, "malformed special token"),
        ({"tokenizer_config.json": {"cls_token": "a : b"}}, "cannot frame a text|has no cls_token"),
        ({"tokenizer_config.json": {"additional_special_tokens": "x"}}, "expected a list"),
        ({"tokenizer_config.json": {"extra_special_tokens": "x"}}, "an object of name: token"),
        ({"tokenizer_config.json": {"extra_special_tokens": {"a": 3}}}, "malformed special token"),
        ({"tokenizer_config.json": {"extra_special_tokens": [""]}}, "malformed special token"),
        ({"tokenizer_config.json": {"model_input_names": "token_type_ids"}}, "expected a list"),
        ({"tokenizer_config.json": {"model_input_names": {}}}, "model_input_names is malformed"),
        (
            {"tokenizer_config.json": {"truncation_side": "middle"}},
            "expected right or left, got 'm",
        ),
        ({"tokenizer_config.json": {"truncation_side": None}}, "truncation_side is malformed"),
        ({"tokenizer_config.json": {"truncation_side": ["left"]}}, "truncation_side is malformed"),
        ({"tokenizer_config.json": {"added_tokens_decoder": []}}, "expected an object of id"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"1": "x"}}}, "added token 1 is malfo"),
        ({"tokenizer_config.json": {"added_tokens_decoder": {"x": MASK}}}, "malformed token id"),
        ({"tokenizer_config.json": {"tokenizer_class": 3}}, "expected a name"),
        ({"tokenizer_config.json": {"split_special_tokens": True}}, "is not supported"),
        ({"added_tokens.json": {"x": None}}, "malformed token id"),
    ],
)
def test_malformed_settings_are_refused(
    files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    _write(tmp_path, files, stored=False)
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(tmp_path, vocab_size=ROWS)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"the\ncat\n"])
def test_unusable_vocabulary_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_bytes(content)
    with pytest.raises(TokenizerError):
        read_tokenizer(tmp_path, vocab_size=ROWS)


@pytest.mark.parametrize("kind", KINDS)
def test_other_models_split_as_the_original(kind: str, tmp_path: Path) -> None:
    save_other("BertModel", tmp_path, kind)
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)
    files = read_tokenizer(tmp_path, vocab_size=ROWS)
    ours = Tokenizer.from_str(files.json)
    assert ours.get_vocab() == original.get_vocab()
    for key in ("cls_token", "sep_token", "pad_token", "mask_token", "unk_token"):
        assert getattr(files, key) == str(getattr(original, key))
    assert files.token_types == ("token_type_ids" in original.model_input_names)
    for text in (*TEXTS, "a <mask> b<mask>", "ﬁn  de …", " x"):
        for pair in (None, "Zwei <mask> Ünd"):
            expected = original(text, pair or None, return_offsets_mapping=True)
            answered = ours.encode(text, pair)
            assert answered.ids == expected["input_ids"], text
            assert answered.offsets == expected["offset_mapping"]
            assert answered.type_ids == expected.get("token_type_ids", [0] * len(answered))


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(
    "name",
    ["BertTokenizer", "ElectraTokenizerFast", "DistilBertTokenizer", "PreTrainedTokenizerFast"],
)
def test_the_config_may_name_the_class(name: str, stated: bool, tmp_path: Path) -> None:
    settings = {"do_lower_case": False, "cls_token": "[CLS]", "sep_token": "[SEP]"}
    settings |= {"tokenizer_class": "BertTokenizer"} if stated else {}
    _write(tmp_path, {"tokenizer_config.json": settings}, stored=True)
    config = {"model_type": "bert", "tokenizer_class": name}
    (tmp_path / "config.json").write_text(json.dumps(config))
    original = transformers.AutoTokenizer.from_pretrained(tmp_path)
    files = read_tokenizer(tmp_path, vocab_size=ROWS, class_name=name)
    expected = original("The Cat", "sat")
    ours = Tokenizer.from_str(files.json).encode("The Cat", "sat")
    assert ours.ids == expected["input_ids"]
    assert ours.type_ids == expected.get("token_type_ids", [0] * len(ours))


@pytest.mark.parametrize("stored", [True, False], ids=["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("name", ["BertJapaneseTokenizer", "T5TokenizerFast", "MyTokenizer", ""])
def test_classes_with_code_of_their_own_are_refused(
    name: str, stored: bool, tmp_path: Path
) -> None:
    _write(tmp_path, {"tokenizer_config.json": {}}, stored=stored)
    message = f"not supported: expected one of BertTokenizer, .*, got '{name}'"
    with pytest.raises(TokenizerError, match=message):
        read_tokenizer(tmp_path, vocab_size=ROWS, class_name=name)


@pytest.mark.parametrize("stored", [True, False], ids=["tokenizer.json", "vocab.txt"])
@pytest.mark.parametrize("stated", [{}, {"clean_up_tokenization_spaces": None},
                                    {"clean_up_tokenization_spaces": False}])  # fmt: skip
def test_clean_up_equals_the_original(stated: dict[str, Any], stored: bool, tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"do_lower_case": True, **stated}}, stored=stored)
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    cleans_up = read_tokenizer(tmp_path, vocab_size=ROWS).clean_up_tokenization_spaces
    assert cleans_up == bool(original.clean_up_tokenization_spaces)


def test_stored_padding_and_template_name_their_tokens(tmp_path: Path) -> None:
    save_other("BertModel", tmp_path, "begins_elsewhere")
    tokenizer = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    tokenizer.enable_padding(pad_token="<pad>", pad_id=3, length=9)  # noqa: S106
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    files = read_tokenizer(tmp_path, vocab_size=ROWS)
    assert (files.cls_token, files.sep_token, files.pad_token) == ("<s>", "</s>", "<pad>")
    tokenizer.no_padding()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path, vocab_size=ROWS).pad_token == "</s>"


def test_declared_tokens_need_no_row_of_the_word_table(tmp_path: Path) -> None:
    declared = {"additional_special_tokens": ["[E1]", "[/E1]"]}
    _write(tmp_path, {"tokenizer_config.json": declared}, stored=False)
    size = len(dict.fromkeys(WORDS))
    (tmp_path / "vocab.txt").write_text("\n".join(dict.fromkeys(WORDS)) + "\n\n")
    files = read_tokenizer(tmp_path, vocab_size=size)
    assert Tokenizer.from_str(files.json).token_to_id("[/E1]") == size + 2
    assert _tokens(files, "a [E1]") == ["[CLS]", "a", "[E1]", "[SEP]"]


def test_a_vocabulary_may_lack_the_unknown_token(tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"unk_token": "<unk>"}}, stored=False)
    size = len(dict.fromkeys(WORDS))
    files = read_tokenizer(tmp_path, vocab_size=size)
    original = transformers.BertTokenizerFast.from_pretrained(tmp_path)
    tokenizer = Tokenizer.from_str(files.json)
    assert tokenizer.encode("the cat").ids == original("the cat")["input_ids"]
    assert tokenizer.token_to_id("<unk>") == original.unk_token_id == size
    assert tokenizer.encode("the ☃").ids == [2, tokenizer.token_to_id("the"), size, 3]


def test_a_stored_vocabulary_needs_the_unknown_token(tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"unk_token": "<unk>"}}, stored=True)
    with pytest.raises(TokenizerError, match="has no unknown token"):
        read_tokenizer(tmp_path, vocab_size=ROWS)


def test_a_padding_token_without_a_row_is_not_needed(tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"pad_token": "<pad>"}}, stored=False)
    size = len(dict.fromkeys(WORDS))
    assert read_tokenizer(tmp_path, vocab_size=size).pad_token == "[SEP]"
    assert read_tokenizer(tmp_path, vocab_size=size + 1).pad_token == "<pad>"


@pytest.mark.parametrize("key", ["cls_token", "sep_token"])
def test_a_framing_token_without_a_row_is_refused(key: str, tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {key: "<x>"}}, stored=False)
    size = len(dict.fromkeys(WORDS))
    with pytest.raises(TokenizerError, match=f"has no {key}: expected '<x>' in the vocabulary"):
        read_tokenizer(tmp_path, vocab_size=size + 1)
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<x>": size}))
    assert getattr(read_tokenizer(tmp_path, vocab_size=size + 1), key) == "<x>"
    with pytest.raises(TokenizerError, match=r"for '<x>'\. Check that tokenizer"):
        read_tokenizer(tmp_path, vocab_size=size)


def test_tokens_beyond_the_word_table_are_refused(tmp_path: Path) -> None:
    _write(tmp_path, {}, stored=False)
    size = len(dict.fromkeys(WORDS))
    read_tokenizer(tmp_path, vocab_size=size)
    with pytest.raises(TokenizerError, match=f"expected ids below {size - 1}"):
        read_tokenizer(tmp_path, vocab_size=size - 1)


@pytest.mark.parametrize("stated", [0, -1, 1e30, "512", None, True])
def test_senseless_length_is_no_length(stated: object, tmp_path: Path) -> None:
    _write(tmp_path, {"tokenizer_config.json": {"model_max_length": stated}}, stored=False)
    assert read_tokenizer(tmp_path, vocab_size=ROWS).max_length is None
