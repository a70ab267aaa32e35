"""The tokenizer answers as the original's does, token for token, and refuses what it cannot."""

from __future__ import annotations

import functools
import json
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pytest
import tokenizers
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Encoding

from bert_export.bundle import TokenizerRecord
from bert_export.errors import InputError, TokenizerError
from bert_export.runtime.tokenization import Text, Tokenizer, Truncation
from tests.runtime.vocabulary import WORDS, small_json
from tests.support import SHARED_DATA

VOCABULARIES = {
    "bert-base-uncased": True,
    "bert-base-cased": False,
    "bert-base-multilingual-uncased": True,
}
CONFORMANCE = SHARED_DATA / "tokenizer_conformance" / "hf_squad_questions"
NASTY = (
    *("[MASK]", "[SEP]", "[CLS]", "[PAD]", "[UNK]", "[mask]", "[MASK", "##ing", "##", "#"),
    *("\x00", "\t", "\n", "\r", "\x0b", "\x85", "\u00a0", "\u00ad", "\u2028", "\u3000", "\ufeff"),
    *("\u200b", "\u200d", "\u202e", "\ufffd", "\ue000", "\U000e0001", "\U0010ffff"),
    *("é", "e\u0301", "\u0301", "İ", "ı", "ß", "ẞ", "ﬁ", "Å", "ǅ", "Σ", "ς", "\u0345", "ﷺ"),
    *("中", "文字", "㐀", "𠀀", "かな", "ｶﾅ", "한국어", "\u1112\u1161", "ไทย", "हिन्दी", "עברית"),
    *("🏳️\u200d🌈", "👩🏽\u200d🚀", "😀", "¿", "—", "…", "$", "^", "`", "~", "+", "|"),
    *("don't", "it ' s", "U.S.A.", "naïve", "a" * 99, "b" * 100, "c" * 101, "hello", "unaffable"),
)
texts = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=6)), max_size=12).map(
    lambda parts: " ".join(parts[::2]) + "".join(parts[1::2])
)


Pair: TypeAlias = tuple[Tokenizer, transformers.BertTokenizerFast]
"""Ours and the original's."""


def record(
    max_length: int = 512,
    special: Mapping[str, str] | None = None,
    side: Literal["right", "left"] = "right",
) -> TokenizerRecord:
    return TokenizerRecord(
        file="tokenizer.json",
        max_length=max_length,
        do_lower_case=True,
        truncation_side=side,
        **(special or {}),
    )


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("vocabulary") / "vocab.txt"
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def small() -> Tokenizer:
    return Tokenizer.from_json(small_json(), record())


@pytest.fixture(scope="module", params=["right", "left"])
def cutting(request: pytest.FixtureRequest, vocabulary: Path) -> Pair:
    """Both tokenizers, cutting rows at either end."""
    oracle = transformers.BertTokenizerFast(
        str(vocabulary), model_max_length=512, truncation_side=request.param
    )
    return Tokenizer.from_json(small_json(), record(side=request.param)), oracle


@functools.cache
def pair_of(name: str) -> Pair:
    """Ours from ``tokenizer.json`` where the folder has one, the original from ``vocab.txt``."""
    folder = SHARED_DATA / "vocab" / name
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    oracle = transformers.BertTokenizerFast(
        str(folder / "vocab.txt"), do_lower_case=VOCABULARIES[name], model_max_length=512
    )
    stored = folder / "tokenizer.json"
    if stored.is_file():
        return Tokenizer.from_file(stored, record()), oracle
    return Tokenizer.from_json(oracle.backend_tokenizer.to_str(), record()), oracle


def aspects(encoding: Encoding) -> dict[str, Any]:
    return {
        "ids": encoding.ids,
        "type_ids": encoding.type_ids,
        "tokens": encoding.tokens,
        "offsets": encoding.offsets,
        "special_tokens_mask": encoding.special_tokens_mask,
        "word_ids": encoding.word_ids,
        "sequence_ids": encoding.sequence_ids,
    }


def expected(
    oracle: transformers.BertTokenizerFast, batch: Sequence[Any], *, windows: bool, **options: Any
) -> list[list[dict[str, Any]]] | str:
    """What the original answers, or ``"refused"``."""
    try:
        answer = oracle(list(batch), return_overflowing_tokens=windows, **options)
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        return "refused"
    groups: list[list[dict[str, Any]]] = [[] for _ in batch]
    owners = answer.get("overflow_to_sample_mapping", range(len(batch)))
    for owner, encoding in zip(owners, answer.encodings, strict=True):
        groups[owner].append(aspects(encoding))
    return groups


def answered(tokenizer: Tokenizer, batch: Sequence[Text], **options: Any) -> Any:
    try:
        groups = tokenizer.encode(batch, **options)
    except InputError:
        return "refused"
    return [[aspects(encoding) for encoding in group] for group in groups]


class TestConformance:
    def test_all_questions(self) -> None:
        if not CONFORMANCE.is_dir():
            pytest.skip(f"{CONFORMANCE} is absent")
        tokenizer, _ = pair_of("bert-base-uncased")
        cases = json.loads((CONFORMANCE / "question_tokens.json").read_text(encoding="utf-8"))
        ids = json.loads((CONFORMANCE / "tokenized_questions.json").read_text(encoding="utf-8"))
        assert len(cases) == 10570
        groups = tokenizer.encode([case["original"] for case in cases], add_special_tokens=False)
        for case, wanted, (encoding,) in zip(cases, ids, groups, strict=True):
            assert encoding.tokens == case["wordpiece"]
            assert encoding.ids == wanted

    def test_one_text_at_a_time(self) -> None:
        if not CONFORMANCE.is_dir():
            pytest.skip(f"{CONFORMANCE} is absent")
        tokenizer, _ = pair_of("bert-base-uncased")
        cases = json.loads((CONFORMANCE / "question_tokens.json").read_text(encoding="utf-8"))
        for case in cases[::50]:
            assert tokenizer.tokenize(case["original"]) == case["wordpiece"]


@pytest.mark.parametrize("name", VOCABULARIES)
class TestOriginal:
    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_texts(self, name: str, data: st.DataObject) -> None:
        tokenizer, oracle = pair_of(name)
        batch = data.draw(st.lists(texts, min_size=1, max_size=4))
        special = data.draw(st.booleans())
        wanted = expected(oracle, batch, windows=False, add_special_tokens=special, truncation=True)
        assert answered(tokenizer, batch, add_special_tokens=special) == wanted
        assert tokenizer.tokenize(batch[0]) == oracle.tokenize(batch[0])

    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_pairs(self, name: str, data: st.DataObject) -> None:
        tokenizer, oracle = pair_of(name)
        batch = data.draw(st.lists(st.tuples(texts, texts), min_size=1, max_size=4))
        length = data.draw(st.integers(3, 40))
        wanted = expected(oracle, batch, windows=False, truncation=True, max_length=length)
        assert answered(tokenizer, batch, max_length=length) == wanted

    @settings(deadline=None, max_examples=60)
    @given(data=st.data())
    def test_words(self, name: str, data: st.DataObject) -> None:
        tokenizer, oracle = pair_of(name)
        words = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=5)), max_size=6)
        batch = data.draw(st.lists(words, min_size=1, max_size=3))
        wanted = expected(oracle, batch, windows=False, is_split_into_words=True)
        assert answered(tokenizer, batch, is_split_into_words=True) == wanted
        tuples = [tuple(words) for words in batch]
        assert answered(tokenizer, tuples, is_split_into_words=True) == wanted

    @settings(deadline=None, max_examples=100)
    @given(data=st.data())
    def test_decode(self, name: str, data: st.DataObject) -> None:
        tokenizer, oracle = pair_of(name)
        known = tokenizer.encode([data.draw(texts)])[0][0].ids
        drawn = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=8))
        skip, clean = data.draw(st.booleans()), data.draw(st.booleans())
        for ids in (known, drawn):
            wanted = oracle.decode(
                ids, skip_special_tokens=skip, clean_up_tokenization_spaces=clean
            )
            assert tokenizer.decode(ids, skip_special_tokens=skip, clean_up=clean) == wanted

    def test_special_tokens(self, name: str) -> None:
        tokenizer, oracle = pair_of(name)
        assert tokenizer.vocab_size == len(oracle)
        for kind in ("cls", "sep", "pad", "mask", "unk"):
            assert getattr(tokenizer, f"{kind}_id") == getattr(oracle, f"{kind}_token_id")
            assert getattr(tokenizer, f"{kind}_token") == getattr(oracle, f"{kind}_token")

    def test_vocabulary_file(self, name: str, tmp_path: Path) -> None:
        tokenizer, _ = pair_of(name)
        (path,) = tokenizer.save_vocabulary(tmp_path)
        original = SHARED_DATA / "vocab" / name / "vocab.txt"
        assert Path(path).read_bytes() == original.read_bytes()

    def test_slow_original(self, name: str) -> None:
        """The Python tokenizer, an implementation of its own, on text from the gutenberg books."""
        tokenizer, _ = pair_of(name)
        folder = SHARED_DATA / "vocab" / name
        slow = transformers.BertTokenizer(
            str(folder / "vocab.txt"), do_lower_case=VOCABULARIES[name]
        )
        lines = [
            "Café naïve, e\u0301clair: ÀÉÎÕÜ ßÇ! [MASK] «guillemets» — dash…",
            "中文字 and 日本語, かな ｶﾅ, 한국어, ไทย, עברית.",
            "don't U.S.A. $3.50 a_b x^y `tick` ~tilde a+b=c|d " + "w" * 101,
            "tab\there\u00a0nbsp\u3000wide\x00nul\ufffdbad\u200bzero 😀 👩🏽\u200d🚀",
        ]
        for path in sorted((SHARED_DATA / "gutenberg").glob("*.txt"))[:2]:
            text = path.read_text(encoding="utf-8", errors="replace")
            lines += text[20_000:40_000].splitlines()
        for line in lines:
            # The Python tokenizer composes accents before it splits, the fast original does not.
            composed = unicodedata.normalize("NFC", line)
            assert tokenizer.tokenize(composed) == slow.tokenize(composed), line


class TestTruncation:
    @settings(deadline=None, max_examples=150)
    @given(
        batch=st.lists(st.text("abc 中", max_size=40), min_size=1, max_size=3),
        length=st.integers(2, 24),
        stride=st.integers(0, 8),
        truncation=st.sampled_from(["longest_first", "only_first", "only_second"]),
        windows=st.booleans(),
    )
    def test_texts(
        self,
        cutting: Pair,
        batch: list[str],
        length: int,
        stride: int,
        truncation: Truncation,
        windows: bool,
    ) -> None:
        small, small_oracle = cutting
        if stride >= length - 2 and stride:
            with pytest.raises(InputError, match="stride"):
                small.encode(batch, max_length=length, truncation=truncation, stride=stride)
            return
        wanted = expected(
            small_oracle,
            batch,
            windows=windows,
            truncation=truncation,
            max_length=length,
            stride=stride,
        )
        assert wanted == answered(
            small,
            batch,
            windows=windows,
            truncation=truncation,
            max_length=length,
            stride=stride,
        )

    @settings(deadline=None, max_examples=300)
    @given(
        batch=st.lists(
            st.tuples(st.text("abc 中", max_size=25), st.text("abc 中", max_size=40)),
            min_size=1,
            max_size=3,
        ),
        length=st.integers(3, 24),
        stride=st.integers(0, 6),
        truncation=st.sampled_from(["longest_first", "only_first", "only_second"]),
        windows=st.booleans(),
    )
    def test_pairs(
        self,
        cutting: Pair,
        batch: list[tuple[str, str]],
        length: int,
        stride: int,
        truncation: Truncation,
        windows: bool,
    ) -> None:
        """Equal, or refused by both; what makes the library abort is refused beforehand."""
        small, small_oracle = cutting
        options: dict[str, Any] = {
            "truncation": truncation,
            "max_length": length,
            "stride": stride,
            "windows": windows,
        }
        found = answered(small, batch, **options)
        if stride >= length - 3:
            assert stride == 0 or found == "refused"
            if stride:
                return
        assert found == expected(small_oracle, batch, **options)

    def test_lists_of_words(self, cutting: Pair) -> None:
        small, small_oracle = cutting
        batch = [["the", "cats", "sat"] * 8, ["newyork"], []]
        wanted = expected(
            small_oracle,
            batch,
            windows=True,
            is_split_into_words=True,
            truncation=True,
            max_length=10,
            stride=4,
        )
        found = answered(
            small, batch, windows=True, is_split_into_words=True, max_length=10, stride=4
        )
        assert found == wanted
        assert len(found[0]) > 2

    def test_window_offsets_point_into_the_text(self, small: Tokenizer) -> None:
        context = "the cat sat on the mat. " * 6
        (group,) = small.encode(
            [("the cat?", context)],
            max_length=20,
            truncation="only_second",
            stride=5,
            windows=True,
        )
        seen = set()
        for window in group:
            assert len(window) <= 20
            for token, (start, stop), side in zip(
                window.tokens, window.offsets, window.sequence_ids, strict=True
            ):
                if side == 1:
                    assert context[start:stop] == token.removeprefix("##")
                    seen |= set(range(start, stop))
        assert seen == {index for index, letter in enumerate(context) if letter != " "}

    @pytest.mark.parametrize(
        ("side", "kept"),
        [("right", ["the", "cat", "sat"]), ("left", ["the", "mat", "."])],
    )
    def test_side(self, side: Literal["right", "left"], kept: list[str]) -> None:
        tokenizer = Tokenizer.from_json(small_json(), record(side=side))
        ((single,),) = tokenizer.encode(["the cat sat on the mat."], max_length=5)
        assert single.tokens == ["[CLS]", *kept, "[SEP]"]
        ((pair,),) = tokenizer.encode(
            [("new york", "the cat sat on the mat.")], max_length=8, truncation="only_second"
        )
        assert pair.tokens == ["[CLS]", "new", "york", "[SEP]", *kept, "[SEP]"]

    def test_windows_from_the_left_begin_at_the_end(self) -> None:
        tokenizer = Tokenizer.from_json(small_json(), record(side="left"))
        (group,) = tokenizer.encode(["a b c d e"], max_length=5, stride=1, windows=True)
        assert [window.tokens[1:-1] for window in group] == [["c", "d", "e"], ["a", "b", "c"]]

    def test_without_windows_only_the_first(self, small: Tokenizer) -> None:
        text = "cat " * 30
        (group,) = small.encode([text], max_length=8)
        assert len(group) == 1
        assert len(group[0]) == 8

    def test_none_refuses_longer(self, small: Tokenizer) -> None:
        fits, longer = "cat " * 510, "cat " * 511
        (group,) = small.encode([fits], truncation="none")
        assert len(group[0]) == 512
        with pytest.raises(
            InputError, match=r"text 'cat cat .*\.\.\. is too long: .* 512 .* got 513 tokens"
        ):
            small.encode([fits, longer], truncation="none")

    def test_default_length_is_the_records(self) -> None:
        tokenizer = Tokenizer.from_json(small_json(), record(7))
        (group,) = tokenizer.encode(["cat " * 30])
        assert len(group[0]) == 7


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_length": 513}, "above the model's: expected at most 512, got 513"),
            ({"max_length": 1}, "max_length is too small: expected at least 2, got 1"),
            ({"max_length": 0, "add_special_tokens": False}, "expected at least 1, got 0"),
            ({"max_length": -3}, "max_length is too small"),
            ({"stride": -1}, "stride -1 does not fit"),
            ({"max_length": 8, "stride": 6}, "stride 6 does not fit max_length 8: expected 0 to 5"),
            (
                {"max_length": 8, "stride": 6, "add_special_tokens": False},
                "stride 6 does not fit max_length 8: expected 0 to 5",
            ),
            ({"truncation": "middle"}, "truncation 'middle' is unknown"),
            ({"truncation": "only_second"}, r"text 'cat .* is too long and has no second text"),
        ],
    )
    def test_options(self, small: Tokenizer, options: dict[str, Any], message: str) -> None:
        with pytest.raises(InputError, match=message):
            small.encode(["cat", "cat " * 600], **options)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (3, "text 1 is of the wrong type"),
            (None, "text 1 is of the wrong type"),
            (("a", "b", "c"), "text 1 is of the wrong type"),
            (("a", 3), "text 1 is of the wrong type"),
            (["a", "b"], "text 1 is of the wrong type"),
            ("a\ud800", r"text 'a\\ud800' is not valid Unicode: .* got '\\ud800'"),
        ],
    )
    def test_texts(self, small: Tokenizer, text: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            small.encode(["cat", text])

    def test_alone(self, small: Tokenizer) -> None:
        with pytest.raises(InputError, match="not valid Unicode"):
            small.tokenize("\udfff")
        with pytest.raises(InputError, match="text 0 is of the wrong type"):
            small.encode(["a text"], is_split_into_words=True)
        with pytest.raises(InputError, match="texts is a single text"):
            small.encode("a text")

    def test_no_texts(self, small: Tokenizer) -> None:
        assert small.encode([]) == []

    def test_kept_text_leaves_no_room(
        self, small: Tokenizer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        pairs = [("cat", "mat"), ("cat " * 10, "mat " * 30)]
        for stride, length in ((4, 16), (0, 12)):
            with pytest.raises(InputError, match=r"text .'cat cat .* cannot be cut to max_length"):
                small.encode(pairs, truncation="only_second", max_length=length, stride=stride)
        assert "panicked" not in capfd.readouterr().err

    def test_ids(self, small: Tokenizer) -> None:
        with pytest.raises(InputError, match="none below 0"):
            small.decode([3, -1])
        for index in (-1, small.vocab_size):
            with pytest.raises(InputError, match="not in the vocabulary"):
                small.id_to_token(index)


class TestOperations:
    ids = st.lists(st.integers(0, len(WORDS) - 1), max_size=8)

    @given(ids, st.none() | ids)
    def test_four_operations(
        self, vocabulary: Path, small: Tokenizer, ids0: list[int], ids1: list[int] | None
    ) -> None:
        slow = _slow(str(vocabulary))
        row = slow.build_inputs_with_special_tokens(ids0, ids1)
        assert small.build_inputs_with_special_tokens(ids0, ids1) == row
        assert small.get_special_tokens_mask(ids0, ids1) == slow.get_special_tokens_mask(ids0, ids1)
        assert small.create_token_type_ids_from_sequences(
            ids0, ids1
        ) == slow.create_token_type_ids_from_sequences(ids0, ids1)
        assert small.get_special_tokens_mask(
            row, already_has_special_tokens=True
        ) == slow.get_special_tokens_mask(row, already_has_special_tokens=True)

    def test_whole_row_and_second_text(self, small: Tokenizer) -> None:
        with pytest.raises(InputError, match="whole row"):
            small.get_special_tokens_mask([1], [2], already_has_special_tokens=True)

    def test_save_vocabulary(self, vocabulary: Path, small: Tokenizer, tmp_path: Path) -> None:
        slow = _slow(str(vocabulary))
        (tmp_path / "slow").mkdir()
        for prefix in (None, "mine"):
            (name,) = small.save_vocabulary(str(tmp_path), prefix)
            (original,) = slow.save_vocabulary(str(tmp_path / "slow"), prefix)
            assert Path(name).name == Path(original).name
            assert Path(name).read_bytes() == Path(original).read_bytes()
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            "mine-vocab.txt",
            "slow",
            "vocab.txt",
        ]

    def test_save_vocabulary_needs_a_folder(self, small: Tokenizer, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="does not exist"):
            small.save_vocabulary(tmp_path / "absent")

    def test_save_vocabulary_refuses_gaps(self, tmp_path: Path) -> None:
        content = json.loads(small_json())
        content["model"]["vocab"]["far"] = 5000
        tokenizer = Tokenizer.from_json(json.dumps(content), record())
        with pytest.raises(TokenizerError, match="ids without gaps"):
            tokenizer.save_vocabulary(tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_save_vocabulary_keeps_the_old_file_when_it_fails(
        self, small: Tokenizer, tmp_path: Path
    ) -> None:
        (tmp_path / "vocab.txt").mkdir()  # cannot be replaced by a file
        with pytest.raises(OSError, match=r"vocab\.txt"):
            small.save_vocabulary(tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["vocab.txt"]

    def test_names_and_ids(self, small: Tokenizer) -> None:
        assert small.token_to_id("cat") == WORDS.index("cat")
        assert small.token_to_id("absent") is None
        assert small.ids_to_tokens([0, WORDS.index("cat")]) == ["[PAD]", "cat"]
        assert small.continuing_prefix == "##"
        assert small.max_length == 512


class TestLoading:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(TokenizerError, match="cannot be read"):
            Tokenizer.from_file(tmp_path / "tokenizer.json", record())

    def test_not_utf8(self, tmp_path: Path) -> None:
        path = tmp_path / "tokenizer.json"
        path.write_bytes(b"\xff\xfe{}")
        with pytest.raises(TokenizerError, match="cannot be read"):
            Tokenizer.from_file(path, record())

    @pytest.mark.parametrize("text", ["", "{}", "[]", '{"model": {"type": "WordPiece"}}', "{" * 99])
    def test_malformed(self, text: str) -> None:
        with pytest.raises(TokenizerError, match="is malformed"):
            Tokenizer.from_json(text, record())

    @pytest.mark.parametrize("kind", ["cls", "sep", "pad", "unk"])
    def test_special_token_not_in_vocabulary(self, kind: str) -> None:
        with pytest.raises(TokenizerError, match=r"lacks the special token \[NONE\]"):
            Tokenizer.from_json(small_json(), record(special={f"{kind}_token": "[NONE]"}))

    def test_mask_may_be_absent(self) -> None:
        text = small_json()
        assert Tokenizer.from_json(text, record(special={"mask_token": "[NONE]"})).mask_id is None

    def test_vocabulary_of_another_model(self) -> None:
        backend = tokenizers.Tokenizer(tokenizers.models.BPE())
        with pytest.raises(TokenizerError, match=r"lacks the special token \[CLS\]"):
            Tokenizer.from_json(backend.to_str(), record())

    def test_without_post_processor(self) -> None:
        content = json.loads(small_json())
        content["post_processor"] = None
        with pytest.raises(TokenizerError, match="does not frame texts as BERT does"):
            Tokenizer.from_json(json.dumps(content), record())

    def test_other_special_tokens(self) -> None:
        with pytest.raises(TokenizerError, match="does not frame texts"):
            Tokenizer.from_json(small_json(), record(special={"cls_token": "[SEP]"}))

    def test_stored_truncation_and_padding_are_dropped(self) -> None:
        content = json.loads(small_json())
        backend = tokenizers.Tokenizer.from_str(json.dumps(content))
        backend.enable_truncation(4)
        backend.enable_padding(length=64)
        tokenizer = Tokenizer.from_json(backend.to_str(), record())
        (group,) = tokenizer.encode(["the cat sat on the mat"])
        assert len(group[0]) == 8

    def test_special_tokens_stay_whole_without_being_listed(self) -> None:
        content = json.loads(small_json())
        content["added_tokens"] = []
        tokenizer = Tokenizer.from_json(json.dumps(content), record())
        assert tokenizer.tokenize("the [MASK] sat") == ["the", "[MASK]", "sat"]
        assert tokenizer.decode([tokenizer.cls_id, WORDS.index("cat")]) == "cat"

    def test_added_tokens_reach_every_truncation_setting(self) -> None:
        backend = tokenizers.Tokenizer.from_str(small_json())
        backend.add_tokens(["<new>", tokenizers.AddedToken("<Cased>", normalized=False)])
        backend.add_special_tokens(["<ctrl>"])
        tokenizer = Tokenizer.from_json(backend.to_str(), record())
        text = "the <new> <Cased> <ctrl>cat" + " sat" * 20
        whole = tokenizer.encode([text], truncation="none")[0][0]
        cut = tokenizer.encode([text], max_length=10)[0][0]
        assert whole.tokens[2:5] == ["<new>", "<Cased>", "<ctrl>"]
        assert cut.ids[:-1] == whole.ids[:9]
        assert tokenizer.vocab_size == backend.get_vocab_size()


class TestThreads:
    def test_settings_do_not_mix(self, small: Tokenizer) -> None:
        words = "the cat sat on the mat " * 20
        calls: list[dict[str, Any]] = [
            {"max_length": length, "stride": stride, "truncation": truncation, "windows": True}
            for length in range(12, 40, 3)
            for stride in (0, 4)
            for truncation in ("longest_first", "only_first", "only_second")
        ]
        pairs = [("the cat", words), ("new york cat", words)]

        def ids(call: dict[str, Any]) -> Any:
            truncation = call["truncation"]
            batch = [(b, a) for a, b in pairs] if truncation == "only_first" else pairs
            return [[e.ids for e in group] for group in small.encode(batch, **call)]

        alone = [ids(call) for call in calls]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(ids, calls * 4))
        assert together == alone * 4


@functools.cache
def _slow(vocabulary: str) -> transformers.BertTokenizer:
    return transformers.BertTokenizer(vocabulary)
