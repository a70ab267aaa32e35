"""Messages have one form, and the tree in the docstring is the tree of the classes."""

from __future__ import annotations

import importlib
import inspect
import pickle
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bert_export
from bert_export import errors
from bert_export.errors import (
    BertExportError,
    BudgetError,
    InputError,
    MissingExtraError,
    one_line,
    one_of,
    shown,
    suggestion,
)

CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if inspect.isclass(value)
    and issubclass(value, BertExportError)
    and value.__module__ == errors.__name__
}


def draw_tree() -> list[str]:
    """The tree as the docstring draws it: name and meaning of each class."""
    lines = (errors.__doc__ or "").split("::", 1)[1].split("The message is")[0].splitlines()
    return [" ".join(line.replace("├──", "").replace("└──", "").split()) for line in lines if line]


def made(kind: type[BertExportError]) -> BertExportError:
    """An error of a class, made as its users make it."""
    if kind is MissingExtraError:
        return MissingExtraError("reading", extra="data")
    if kind is BudgetError:
        return BudgetError("budget", expected=1, got=2, fix="Raise it", search=("tried",))
    return kind("thing is wrong", expected=1, got=2, fix="Mend it")


UNSTOPPED = st.text(min_size=1, max_size=50).filter(lambda text: not text.endswith((".", "?")))


class TestMessage:
    @pytest.mark.parametrize(
        ("error", "text"),
        [
            (InputError("axis is empty"), "axis is empty."),
            (InputError("a", expected=1), "a: expected 1."),
            (InputError("a", got="two"), "a: got two."),
            (InputError("a", fix="Do b"), "a. Do b."),
            (
                InputError("input x has the wrong rank", expected=2, got=(), fix="Add an axis"),
                "input x has the wrong rank: expected 2, got (). Add an axis.",
            ),
            (InputError("a", expected=0, got=False), "a: expected 0, got False."),
            (InputError("a", got=InputError("b", got=1), fix="Do c."), "a: got b: got 1. Do c."),
            (InputError("a", got="'bcd'..."), "a: got 'bcd'...."),
            (InputError("a", fix="Did you mean 'b'?"), "a. Did you mean 'b'?"),
        ],
    )
    def test_form(self, error: BertExportError, text: str) -> None:
        assert str(error) == text
        assert error.args == (text,)

    @given(UNSTOPPED, UNSTOPPED, UNSTOPPED, UNSTOPPED)
    def test_every_part_is_in_it(self, what: str, expected: str, got: str, fix: str) -> None:
        text = str(BertExportError(what, expected=expected, got=got, fix=fix))
        parts = f"{what}: expected {expected}, got {got}. {fix}."
        assert text == "".join(
            letter if letter.isprintable() else letter.encode("unicode_escape").decode()
            for letter in parts
        )

    def test_no_part_breaks_the_line(self) -> None:
        error = BertExportError("tensor a\nb is \x1b[31mred", got="\u2028")
        assert str(error) == r"tensor a\nb is \x1b[31mred: got \u2028."

    @pytest.mark.parametrize("letter", ["x", "\N{GRINNING FACE}", "\x00"])
    def test_a_long_part_loses_its_middle(self, letter: str) -> None:
        value = f"beginning{letter * 18_000}end"
        text = str(InputError(f"label {value} is wrong", expected=value, got=value, fix=value))
        assert len(text) < 2_600
        assert text.startswith("label beginning")
        assert text.count("beginning") == 4
        assert text.count("end") >= 3
        assert text.count("characters ...]") == 4

    def test_missing_extra(self) -> None:
        error = MissingExtraError("exporting", extra="export")
        assert isinstance(error, ImportError)
        assert str(error) == (
            "exporting needs an optional dependency that is not installed."
            " Run: pip install 'bert-export[export]'."
        )

    @pytest.mark.parametrize("kind", CLASSES.values(), ids=CLASSES)
    def test_travels_between_processes(self, kind: type[BertExportError]) -> None:
        error = made(kind)
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making
        assert type(copy) is kind
        assert (str(copy), vars(copy)) == (str(error), vars(error))


class TestSuggestion:
    KNOWN = ("aggregation_strategy", "ignore_labels", "stride", "Sigmoid")

    @pytest.mark.parametrize(
        ("typed", "meant"),
        [
            ("agregation_strategy", "aggregation_strategy"),
            ("aggregation", "aggregation_strategy"),
            ("STRIDE", "stride"),
            ("ignore_label", "ignore_labels"),
            ("sigmod", "Sigmoid"),
            ("Ignore Labels", "ignore_labels"),
            ("ag", "aggregation_strategy"),
        ],
    )
    def test_names_what_is_close(self, typed: str, meant: str) -> None:
        assert suggestion(typed, self.KNOWN) == f"Did you mean {meant!r}?"

    @pytest.mark.parametrize("typed", ["", "batch_size", "x", 3, None, ["stride"], "f" * 10**6])
    def test_says_nothing_of_what_is_not(self, typed: object) -> None:
        assert suggestion(typed, self.KNOWN) is None
        assert suggestion(typed, ()) is None

    def test_what_an_error_says_of_a_name_that_is_none_of_those(self) -> None:
        error = InputError(
            "task is unknown", **one_of("maskfil", ["ner", "qa"], others=["maskfill"])
        )
        assert str(error) == (
            "task is unknown: expected one of ner, qa, got 'maskfil'. Did you mean 'maskfill'?"
        )

    @given(st.text(max_size=30), st.lists(st.text(max_size=10), max_size=4))
    def test_only_names_that_there_are(self, typed: str, names: list[str]) -> None:
        question = suggestion(typed, names)
        assert question is None or question in {f"Did you mean {name!r}?" for name in names}


class TestTree:
    def test_drawn_as_it_is(self) -> None:
        root, *drawn = draw_tree()
        assert root == "BertExportError"
        assert [line.split()[0] for line in drawn] == sorted(CLASSES.keys() - {"BertExportError"})

    def test_meanings_are_the_docstrings(self) -> None:
        for line in draw_tree()[1:]:
            name, meaning = line.split(maxsplit=1)
            summary = (CLASSES[name].__doc__ or "").splitlines()[0].replace("`", "").rstrip(".")
            assert meaning.startswith(summary[0].lower() + summary[1:]), name

    def test_all_are_direct_children(self) -> None:
        for name, error in CLASSES.items():
            bases = error.__bases__
            assert bases[0] is (Exception if name == "BertExportError" else BertExportError)
            assert bases[1:] == ((ImportError,) if name == "MissingExtraError" else ())

    def test_all_is_complete(self) -> None:
        assert errors.__all__ == [
            *sorted(CLASSES),
            *("nearest", "one_line", "one_of", "plain", "shown", "suggestion"),
        ]


def test_every_module_sorts_its_names() -> None:
    """Sorted as ruff sorts ``__all__``: constants, classes, then the rest."""

    def rank(name: str) -> tuple[int, str]:
        kind = 0 if name.isupper() and len(name) > 1 else 1 if name[0].isupper() else 2
        return kind, name

    light = ["bert_export.bundle", "bert_export.errors"]
    for room in ("runtime", "tasks"):
        package = importlib.import_module(f"{bert_export.__name__}.{room}")
        prefix = f"{package.__name__}."
        light += [info.name for info in pkgutil.walk_packages(package.__path__, prefix)]
    for name in light:
        module = importlib.import_module(name)
        names = getattr(module, "__all__", [])
        assert names == sorted(names, key=rank), name
        assert all(hasattr(module, exported) for exported in names), name


def test_a_value_is_quoted_in_part() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert shown("x" * 61) == "'" + "x" * 60 + "'..."
    assert shown(["x" * 61]) == "['" + "x" * 58 + "..."


def test_what_a_library_says_is_one_line() -> None:
    assert one_line(ValueError("a\n  b.")) == "a b"
    assert one_line(ValueError()) == "ValueError"
    text = "a" * 300 + "b" * 300
    assert one_line(text) == "a" * 300 + "b" * 100 + "..."
    assert one_line(text, keep_end=True) == "..." + "a" * 100 + "b" * 300
    assert one_line(text, most=None) == text
