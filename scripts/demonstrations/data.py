"""The data of the demonstration adapters, read into the project's JSON Lines records.

Every reader takes the data folder and a seed and gives a :class:`Splits`; the records are those of
evaluation files: ``text``/``text_pair``/``label``, ``tokens``/``tags``, ``question``/``context``/
``answers``, ``prompt``/``choices``/``label``. Order is that of the files unless a split had to be
drawn, and then it is drawn with the seed.
"""

from __future__ import annotations

import csv
import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scripts.demonstrations.entities import exchange_mentions, mentions_of, tag_slots

__all__ = ["READERS", "Record", "Source", "Splits"]

Record = dict[str, Any]

_SNIPS_INTENTS = (
    "AddToPlaylist",
    "BookRestaurant",
    "GetWeather",
    "PlayMusic",
    "RateBook",
    "SearchCreativeWork",
    "SearchScreeningEvent",
)
_SNIPS_SOURCE = "github.com/sonos/nlu-benchmark at b86ac7f, 2017-06-custom-intent-engines"
_SNIPS_ATTRIBUTION = (
    "Coucke et al.: Snips Voice Platform: an embedded Spoken Language Understanding system for "
    "private-by-design voice interfaces. 2018, arXiv:1805.10190."
)
_CALIBRATION = Path(__file__).parents[2] / "calibration" / "token-classification" / "examples.jsonl"
_NLI_LABELS = ("entailment", "neutral", "contradiction")
_SLOT_QUESTIONS = {
    "people": "How many people?",
    "time": "What time?",
    "date": "What date?",
    "first_name": "What is the first name?",
    "last_name": "What is the last name?",
}
# A space after a mark that ends a sentence, or after the quotation mark behind it.
_SENTENCE_END = re.compile(
    "(?<=[.!?][\"\u201d\u2019'])\\s+|(?<!Mr\\.)(?<!Mrs\\.)(?<!Dr\\.)(?<!St\\.)(?<=[a-z\\d][.!?])\\s+"
)


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where records come from, as the card states it.

    Args:
        name: The data set.
        licence: As its authors state it.
        source: Repository and commit.
        attribution: Whom to name, and where the paper is.
        split: In words, which part of it is learnt from.
        examples: How many records that is.
    """

    name: str
    licence: str
    source: str
    attribution: str
    split: str
    examples: int


@dataclass(frozen=True, kw_only=True)
class Splits:
    """What one adapter is trained and scored on.

    Args:
        train: Records to learn from.
        dev: Records that choose the settings; the final training learns from them too.
        test: Named test sets; the first one gives the card's headline.
        sources: One per data set.
        test_split: In words, where ``test`` comes from.
        labels: Label names in id order; empty where the head has none.
        last: What the final training ends with, where ``dev`` is among it rather than among all.
    """

    train: Sequence[Record]
    dev: Sequence[Record]
    test: Mapping[str, Sequence[Record]]
    sources: Sequence[Source]
    test_split: str
    labels: Sequence[str] = field(default=())
    last: Sequence[Record] = field(default=())


def _wnut17(data: Path, seed: int) -> Splits:
    """WNUT's sentences, the same with other names, voice requests, and sentences of ours."""
    folder = data / "wnut17"
    train = list(_conll(folder / "wnut17train.conll"))
    kinds = sorted({tag[2:] for record in train for tag in record["tags"] if tag != "O"})
    queries = [
        query
        for intent in _SNIPS_INTENTS
        for query in _snips_queries(data / "snips" / intent / f"train_{intent}_full.json", intent)
    ]
    requests = [record for record in map(tag_slots, queries) if record is not None]
    own = [record for record in _json_lines(_CALIBRATION) if "tags" in record]
    # Names of the requests come beside those of the sentences, twice as many at most.
    dice = random.Random(seed)
    mentions = mentions_of([*train, *own])
    for kind, names in mentions_of(requests).items():
        dice.shuffle(names)
        known = mentions.get(kind, [])
        mentions[kind] = known + names[: max(2 * len(known), 600)]
    exchanged = exchange_mentions(train, mentions, dice)
    asked = dice.sample(requests, 1200)
    # The dev set is text as the test set's is: it comes last, with names exchanged too.
    dev = list(_conll(folder / "emerging.dev.conll"))
    last = [*dev, *exchange_mentions(dev, mentions, dice), *dice.sample(train, 1000)]
    return Splits(
        train=[*train, *exchanged, *asked, *own, *own],
        dev=dev,
        last=last,
        test={"wnut17": list(_conll(folder / "emerging.test.annotated"))},
        sources=[
            Source(
                name="WNUT 2017 Emerging and Rare Entities",
                licence="CC BY 4.0",
                source="github.com/leondz/emerging_entities_17 at e52a2d2",
                attribution="Derczynski, Nichols, van Erp, Limsopatham: Results of the WNUT2017 "
                "Shared Task on Novel and Emerging Entity Recognition. WNUT at EMNLP, 2017.",
                split="wnut17train.conll and emerging.dev.conll, and both with other names",
                examples=len(train) + len(exchanged) + len(last),
            ),
            Source(
                name="Snips natural language understanding benchmark",
                licence="CC0 1.0",
                source=_SNIPS_SOURCE,
                attribution=_SNIPS_ATTRIBUTION,
                split="1200 requests of train_*_full.json, slots as entities",
                examples=len(asked),
            ),
            Source(
                name="Calibration sentences of this project",
                licence="Apache-2.0",
                source="calibration/token-classification/examples.jsonl",
                attribution="the bert-export authors.",
                split="those with tags, twice",
                examples=2 * len(own),
            ),
        ],
        test_split="emerging.test.annotated",
        labels=["O", *(f"{place}-{kind}" for kind in kinds for place in "BI")],
    )


def _json_lines(path: Path) -> list[Record]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _conll(path: Path) -> Iterator[Record]:
    """Sentences of ``token TAB tag`` lines; a line without a token ends one."""
    tokens: list[str] = []
    tags: list[str] = []
    for line in [*path.read_text(encoding="utf-8").split("\n"), ""]:
        token, _, tag = line.strip().partition("\t")
        if token and tag:
            tokens.append(token)
            tags.append(tag)
        elif tokens:
            yield {"tokens": tokens, "tags": tags}
            tokens, tags = [], []


def _snips(data: Path, seed: int) -> Splits:
    train, test, source = _read_snips(
        data, seed, _labelled, "train_*_full.json of the seven intents"
    )
    return Splits(
        train=train[1400:],
        dev=train[:1400],
        test={"snips": test},
        sources=[source],
        test_split="validate_*.json of the seven intents",
        labels=_SNIPS_INTENTS,
    )


def _read_snips(
    data: Path, seed: int, read: Callable[[list[dict[str, str]], str], Record], split: str
) -> tuple[list[Record], list[Record], Source]:
    """Voice requests as records: those to train on, shuffled, those to test on, and whose they are.

    Args:
        data: Folder of the open data sets.
        seed: Of the order.
        read: A request's parts, some of them slots, and its intent, to a record.
        split: What is taken of the data set.
    """
    folder = data / "snips"
    train: list[Record] = []
    test: list[Record] = []
    for intent in _SNIPS_INTENTS:
        for records, name in ((train, f"train_{intent}_full"), (test, f"validate_{intent}")):
            queries = _snips_queries(folder / intent / f"{name}.json", intent)
            records += [read(query, intent) for query in queries]
    random.Random(seed).shuffle(train)
    source = Source(
        name="Snips natural language understanding benchmark",
        licence="CC0 1.0",
        source=_SNIPS_SOURCE,
        attribution=_SNIPS_ATTRIBUTION,
        split=split,
        examples=len(train),
    )
    return train, test, source


_SPELT = {
    "AddToPlaylist": "add to playlist",
    "BookRestaurant": "book a table",
    "GetWeather": "tell the weather",
    "PlayMusic": "play music",
    "RateBook": "rate a book",
    "SearchCreativeWork": "find a work",
    "SearchScreeningEvent": "find a film",
}


def _requests_spelt(data: Path, seed: int) -> Splits:
    """Voice requests, and what each asks for in a few words: its kind, and its slots in order."""
    train, test, source = _read_snips(
        data, seed, _spelt, "train_*_full.json of the seven intents, slots as the summary"
    )
    return Splits(
        train=train[700:],
        dev=train[:700],
        test={"requests": test[::2]},
        sources=[source],
        test_split="every second request of validate_*.json of the seven intents",
    )


def _spelt(query: list[dict[str, str]], intent: str) -> Record:
    slots = [" ".join(part["text"].split()) for part in query if "entity" in part]
    return {
        "text": _said(query),
        "summary": ", ".join([_SPELT[intent], *(slot for slot in slots if slot)]),
    }


def _labelled(query: list[dict[str, str]], intent: str) -> Record:
    return {"text": _said(query), "label": intent}


def _said(query: list[dict[str, str]]) -> str:
    return "".join(part["text"] for part in query).strip()


def _snips_queries(path: Path, intent: str) -> list[list[dict[str, str]]]:
    """Queries as parts of text, some of them slots."""
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:  # one of the files
        text = raw.decode("latin-1")
    return [query["data"] for query in json.loads(text)[intent]]


def _spans(data: Path, seed: int) -> Splits:
    """Privacy policies (always answered) and restaurant requests (often not)."""
    policy = [
        {"question": qa["question"], "context": paragraph["context"], "answers": _answers(qa)}
        for paragraph in _policy_paragraphs(data / "policyqa" / "dev.json")
        for qa in paragraph["qas"]
    ]
    requests = _requests(data / "restaurant8k_spans" / "train_0.json")
    answered = [record for record in requests if record["answers"]["text"]]
    silent = [record for record in requests if not record["answers"]["text"]]
    dice = random.Random(seed)
    dice.shuffle(policy)
    dice.shuffle(answered)
    kept = answered[:5500] + dice.sample(silent, 6000)
    dice.shuffle(kept)
    return Splits(
        train=policy[400:] + kept[800:],
        dev=policy[:400] + kept[:800],
        test={
            "policyqa": [
                {"question": qa["question"], "context": part["context"], "answers": _answers(qa)}
                for part in _policy_paragraphs(data / "policyqa" / "test.json")
                for qa in part["qas"]
            ],
            "restaurant8k": _requests(data / "restaurant8k_spans" / "test.json"),
        },
        sources=[
            Source(
                name="PolicyQA",
                licence="MIT (repository); the policies come from the OPP-115 corpus, which its "
                "authors offer for research",
                source="github.com/wasiahmad/PolicyQA at 775538b",
                attribution="Ahmad, Chi, Tian, Chang: PolicyQA: A Reading Comprehension Dataset "
                "for Privacy Policies. Findings of EMNLP, 2020.",
                split="dev.json (train.json was not at hand)",
                examples=len(policy),
            ),
            Source(
                name="Restaurant-8k span extraction",
                licence="CC BY 4.0",
                source="github.com/PolyAI-LDN/task-specific-datasets at 57ec275",
                attribution="Coope, Farghly, Gerz, Vulic, Henderson: Span-ConveRT: Few-shot Span "
                "Extraction for Dialog with Pretrained Conversational Representations. ACL, 2020.",
                split="train_0.json, each slot turned into a question: 5500 answered and 6000 "
                "unanswered ones, drawn with the seed",
                examples=len(kept),
            ),
        ],
        test_split="PolicyQA test.json; Restaurant-8k test.json, all five questions to every text",
    )


def _policy_paragraphs(path: Path) -> Iterator[Record]:
    for article in json.loads(path.read_text(encoding="utf-8"))["data"]:
        yield from article["paragraphs"]


def _answers(qa: Record) -> Record:
    return {
        "text": [answer["text"] for answer in qa["answers"]],
        "answer_start": [answer["answer_start"] for answer in qa["answers"]],
    }


def _requests(path: Path) -> list[Record]:
    """Every text with every slot's question; a slot without a value has no answer."""
    records = []
    for entry in json.loads(path.read_text(encoding="utf-8")):
        text = entry["userInput"]["text"]
        for slot, question in _SLOT_QUESTIONS.items():
            spans = [
                (label["valueSpan"].get("startIndex", 0), label["valueSpan"]["endIndex"])
                for label in entry.get("labels", [])
                if label["slot"] == slot
            ]
            answers = {
                "text": [text[start:end] for start, end in spans],
                "answer_start": [start for start, _ in spans],
            }
            records.append({"question": question, "context": text, "answers": answers})
    return records


def _taxinli(data: Path, seed: int) -> Splits:
    """The data set comes unsplit: whole premises are dealt out, so that none is in two splits."""
    with (data / "taxinli" / "taxinli10k.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    premises = sorted({row["prem"] for row in rows})
    random.Random(seed).shuffle(premises)
    tenth = len(premises) // 10
    held, chosen = set(premises[:tenth]), set(premises[tenth : 2 * tenth])

    def take(wanted: Callable[[str], bool]) -> list[Record]:
        return [
            {"text": row["prem"], "text_pair": row["hyp"], "label": row["label"]}
            for row in rows
            if wanted(row["prem"])
        ]

    train = take(lambda premise: premise not in held and premise not in chosen)
    dev = take(lambda premise: premise in chosen)
    return Splits(
        train=train,
        dev=dev,
        test={"taxinli": take(lambda premise: premise in held)},
        sources=[
            Source(
                name="TaxiNLI",
                licence="Computational Use of Data Agreement 1.0 (trained models are Results)",
                source="github.com/microsoft/TaxiNLI at 60d89b0",
                attribution="Joshi, Aditya, Sathe, Choudhury: TaxiNLI: Taking a Ride up the NLU "
                "Hill. CoNLL, 2020. Sentences from MultiNLI (Williams, Nangia, Bowman, 2018).",
                split="90 % of the premises, drawn with the seed (the data set has no split)",
                examples=len(train) + len(dev),
            )
        ],
        test_split="the other 10 % of the premises",
        labels=_NLI_LABELS,
    )


_NOVELS = Source(
    name="Eight novels of Project Gutenberg",
    licence="public domain in the USA",
    source="github.com/GITenberg: books 11, 84, 98, 345, 1342, 1400, 1661, 2600",
    attribution="Carroll, Shelley, Dickens (two), Stoker, Austen, Conan Doyle and Tolstoy (in the "
    "Maude translation), from Project Gutenberg.",
    split="",
    examples=0,
)


def _read_novels(data: Path) -> tuple[list[list[str]], list[list[str]]]:
    """The passages of every novel: its first nine tenths, and the rest, which is held out."""
    paths = sorted((data / "gutenberg").glob("*_*.txt"))
    books = [_passages(path.read_text(encoding="utf-8-sig")) for path in paths]
    cuts = [len(book) * 9 // 10 for book in books]
    return (
        [book[:cut] for book, cut in zip(books, cuts, strict=True)],
        [book[cut:] for book, cut in zip(books, cuts, strict=True)],
    )


def _gutenberg(data: Path, seed: int) -> Splits:
    """Pairs of neighbouring passages, half of them broken up; the end of every book is held out."""
    dice = random.Random(seed)
    begins, ends = _read_novels(data)
    train, test = _passage_pairs(begins, dice), _passage_pairs(ends, dice)
    return Splits(
        train=train[400:],
        dev=train[:400],
        test={"gutenberg": test[:1500]},
        sources=[
            replace(
                _NOVELS,
                split="pairs of passages from the first 90 % of each novel",
                examples=len(train),
            )
        ],
        test_split="1500 pairs of passages from the last 10 % of each novel",
    )


def _novels(data: Path, seed: int) -> Splits:
    """Two neighbouring passages as one text; the end of every book is held out."""
    dice = random.Random(seed)
    begins, ends = _read_novels(data)
    train, test = _neighbours(begins, dice), _neighbours(ends, dice)
    return Splits(
        train=train[400:6400],
        dev=train[:400],
        test={"novels": test[:300]},
        sources=[
            replace(
                _NOVELS,
                split="pairs of passages from the first 90 % of each novel, a third of them",
                examples=6400,
            )
        ],
        test_split="300 pairs of passages from the last 10 % of each novel",
    )


def _neighbours(books: Sequence[Sequence[str]], dice: random.Random) -> list[Record]:
    """Every passage with the one behind it, each once."""
    texts = [
        {"text": f"{first} {second}"}
        for book in books
        for first, second in zip(book[::2], book[1::2], strict=False)
    ]
    dice.shuffle(texts)
    return texts


def _passage_pairs(books: Sequence[Sequence[str]], dice: random.Random) -> list[Record]:
    """Neighbours (label 1), or the first of them with a passage from anywhere (label 0)."""
    everything = [passage for book in books for passage in book]
    pairs = []
    for book in books:
        for first, second in zip(book[::2], book[1::2], strict=False):
            follows = dice.random() < 0.5
            other = second if follows else dice.choice(everything)
            pairs.append({"text": first, "text_pair": other, "label": int(follows)})
    dice.shuffle(pairs)
    return pairs


def _passages(book: str) -> list[str]:
    """One to three sentences each, about 30 words, in reading order."""
    start = book.index("\n", book.index("*** START OF"))
    text = " ".join(book[start : book.index("*** END OF")].replace("_", "").split())
    passages: list[str] = []
    words: list[str] = []
    for sentence in _SENTENCE_END.split(text):
        words += sentence.split()
        if len(words) >= 20:
            passages.append(" ".join(words[:60]))
            words = []
    return passages


def _codah(data: Path, seed: int) -> Splits:
    del seed
    train, dev, test = (_codah_file(data / "codah" / f"{name}.tsv") for name in _CODAH_FILES)
    return Splits(
        train=train,
        dev=dev,
        test={"codah": test},
        sources=[
            Source(
                name="CODAH",
                licence="ODC-By 1.0",
                source="github.com/Websail-NU/CODAH at acf7ffa, cv_split/fold_0",
                attribution="Chen, D'Arcy, Liu, Fernandez, Downey: CODAH: An Adversarially-"
                "Authored Question Answering Dataset for Common Sense. RepEval, 2019.",
                split="train.tsv and dev.tsv of fold 0",
                examples=len(train) + len(dev),
            )
        ],
        test_split="test.tsv of fold 0",
    )


_CODAH_FILES = ("train", "dev", "test")


def _codah_file(path: Path) -> list[Record]:
    """Lines of ``categories, prompt, four choices, index of the right one``."""
    rows = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return [{"prompt": row[1], "choices": row[2:6], "label": int(row[6])} for row in rows]


def _nlupp(data: Path, seed: int) -> Splits:
    del seed
    folder = data / "nlupp_multilabel" / "data"
    ontology = json.loads((folder / "ontology.json").read_text(encoding="utf-8"))

    def folds(first: int, last: int) -> list[Record]:
        return [
            {"text": entry["text"], "labels": entry.get("intents", [])}
            for domain in ("banking", "hotels")
            for fold in range(first, last + 1)
            for entry in json.loads(
                (folder / domain / f"fold{fold}.json").read_text(encoding="utf-8")
            )
        ]

    train, dev = folds(0, 14), folds(15, 16)
    return Splits(
        train=train,
        dev=dev,
        test={"nlupp": folds(17, 19)},
        sources=[
            Source(
                name="NLU++",
                licence="CC BY 4.0",
                source="github.com/PolyAI-LDN/task-specific-datasets at 57ec275, nlupp",
                attribution="Casanueva, Vulic, Spithourakis, Budzianowski: NLU++: A Multi-Label, "
                "Slot-Rich, Generalisable Dataset for Natural Language Understanding in "
                "Task-Oriented Dialogue. Findings of NAACL, 2022.",
                split="folds 0 to 16 of banking and of hotels",
                examples=len(train) + len(dev),
            )
        ],
        test_split="folds 17 to 19 of banking and of hotels",
        labels=list(ontology["intents"]),
    )


def _stsb(data: Path, seed: int) -> Splits:
    del seed
    train, dev, test = (
        _stsb_file(data / "stsb_en" / f"stsb-en-{name}.csv") for name in ("train", "dev", "test")
    )
    return Splits(
        train=train,
        dev=dev,
        test={"stsb": test},
        sources=[
            Source(
                name="STS benchmark, English",
                licence="scores CC BY-SA 4.0; each text under its source's licence",
                source="github.com/PhilipMay/stsb-multi-mt at 30de0de",
                attribution="Cer, Diab, Agirre, Lopez-Gazpio, Specia: SemEval-2017 Task 1: "
                "Semantic Textual Similarity. SemEval, 2017. Texts among others from Microsoft "
                "Research, SNLI and the Stack Exchange Network.",
                split="stsb-en-train.csv and stsb-en-dev.csv",
                examples=len(train) + len(dev),
            )
        ],
        test_split="stsb-en-test.csv",
        labels=["similarity"],
    )


def _stsb_file(path: Path) -> list[Record]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            {"text": first, "text_pair": second, "label": float(score)}
            for first, second, score in csv.reader(file)
        ]


READERS: Mapping[str, Callable[[Path, int], Splits]] = {
    "wnut17": _wnut17,
    "snips": _snips,
    "spans": _spans,
    "taxinli": _taxinli,
    "gutenberg": _gutenberg,
    "novels": _novels,
    "requests": _requests_spelt,
    "codah": _codah,
    "nlupp": _nlupp,
    "stsb": _stsb,
}
