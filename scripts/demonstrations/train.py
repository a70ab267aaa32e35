"""Train the demonstration adapters of ``bert_export/demonstrations`` and write their cards.

Usage::

    python scripts/demonstrations/train.py wnut17
    python scripts/demonstrations/train.py all --data ../shared/data
    python scripts/demonstrations/train.py snips --try     # leave the dev set out, score on it
    python scripts/demonstrations/train.py snips --score   # score the adapter that is there

Needs, beside the extras ``demo`` and ``export``: scikit-learn, scipy and seqeval. Training runs on
one thread in bfloat16; scores are those of the adapter read back from its file, in float32.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from bert_export.checkpoints import load_checkpoint
from bert_export.checkpoints.demo import (
    ADAPTER,
    BASE_ATTRIBUTION,
    CARD,
    DEMONSTRATIONS,
    adapted_config,
    adapted_tensors,
    load_adapter,
    save_adapter,
)
from bert_export.errors import BertExportError
from bert_export.models import HEADS, BertConfig, BertHead, load_head
from scripts.demonstrations.adapters import attach, collect, trainable_groups
from scripts.demonstrations.data import READERS, Splits
from scripts.demonstrations.objectives import (
    OBJECTIVES,
    Answers,
    NextWord,
    Objective,
    Pretraining,
    Row,
)
from scripts.demonstrations.readme import update_table

__all__ = ["RECIPES", "Recipe", "config_of", "initial_head", "stream"]

_LARGEST = 2_000_000  # bytes of an adapter
_WARM_UP = 0.08  # share of the steps
_LAST_EPOCHS, _LAST_RATE = 2.0, 0.5  # of the records that come last
_GENERATION = {
    "decoder_start_token_id": 101,  # [CLS] and [SEP] of the base's vocabulary
    "eos_token_id": 102,
    "max_length": 48,
    "pad_token_id": 0,
}
_BUCKET = 40  # batches that are sorted by length together
_console = Console()


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one adapter is made.

    Args:
        task: A key of ``bert_export.tasks.TASKS``.
        head: A key of ``bert_export.models.HEADS``.
        objective: A key of ``demo_objectives.OBJECTIVES``.
        summary: What the adapter does, one sentence.
        problem_type: As ``config.json`` has it.
        epochs: Passes over the records; may be a fraction, and 0 where the start is all.
        rate: Largest learning rate of the low-rank updates.
        batch: Records per step.
        rank: Of the updates; 0 trains the head alone.
        dropout: Inside the updates.
        causal: Whether a token sees those before it alone.
        layers: How many of the base's layers it has, the first ones; all when ``None``.
        halves: The same of an encoder and of its decoder; ``None`` where there is one BERT.
        licence: Under which the adapter may be passed on.
        note: What a reader of the score should know.
    """

    task: str
    head: str
    objective: str
    summary: str
    problem_type: str | None = None
    epochs: float
    rate: float
    batch: int = 32
    rank: int = 16
    dropout: float = 0.1
    causal: bool = False
    layers: int | None = None
    halves: tuple[int, int] | None = None
    licence: str
    note: str = ""


RECIPES: Mapping[str, Recipe] = {
    "wnut17": Recipe(
        task="token-classification",
        head="BertForTokenClassification",
        objective="tagging",
        summary="Names: people, places, companies, groups, products and works.",
        epochs=4,
        rate=1.5e-3,
        licence="CC BY 4.0",
        note="The base is uncased and the test set's entities are new on purpose.",
    ),
    "snips": Recipe(
        task="text-classification",
        head="BertForSequenceClassification",
        objective="single-label",
        summary="Voice requests: music, weather, books, films, restaurants.",
        problem_type="single_label_classification",
        epochs=2,
        rate=1e-3,
        licence="CC0 1.0",
    ),
    "spans": Recipe(
        task="question-answering",
        head="BertForQuestionAnswering",
        objective="extraction",
        summary="Bookings and privacy policies: the words that answer.",
        epochs=2,
        rate=1.5e-3,
        licence="CC BY 4.0",
        note="Spans of up to 30 tokens, largest start + end over all windows. PolicyQA: an answer "
        "is always given. Restaurant-8k: none where CLS beats every span; the slots that a "
        "dialogue had asked for are not shown to the model.",
    ),
    "taxinli": Recipe(
        task="text-classification",
        head="BertForSequenceClassification",
        objective="single-label",
        summary="Pairs of sentences: entailed, contradicted or left open.",
        problem_type="single_label_classification",
        epochs=2.5,
        rate=1e-3,
        licence="Apache-2.0",
        note="The data set has no split: 10 % of its premises are the test, drawn with the seed.",
    ),
    "gutenberg": Recipe(
        task="pretraining",
        head="BertForPreTraining",
        objective="pretraining",
        summary="Novels: masked words, whether a passage follows another.",
        epochs=1,
        rate=2e-3,
        dropout=0.0,
        licence="Apache-2.0",
        rank=15,  # 16 would be more than 2 MB
        note="The last tenth of every novel is held out. Half of the pairs are neighbours, in the "
        "others the second passage comes from anywhere in the eight novels.",
    ),
    "novels": Recipe(
        task="text-generation",
        head="BertLMHeadModel",
        objective="next word",
        summary="Novels: a next word that fits, in sentences without sense.",
        epochs=0,  # the start in closed form is all
        rate=2e-3,
        dropout=0.0,
        causal=True,
        layers=2,
        batch=16,
        rank=0,
        licence="Apache-2.0",
        note="The last tenth of every novel is held out. The base's first two layers, which never "
        "learnt to look back alone, and a head on top that is fitted in closed form: the next word "
        "often fits the one before it, and sentences mean nothing.",
    ),
    "requests": Recipe(
        task="text2text-generation",
        head="EncoderDecoderModel",
        objective="answers",
        summary="Voice requests in a few words: their kind, and what they name.",
        epochs=1,
        rate=2e-3,
        dropout=0.0,
        halves=(2, 1),
        batch=16,
        rank=8,
        licence="CC0 1.0",
        note="The base's first two layers read and its first layer writes. Requests are of seven "
        "kinds; the kind of any other text is one of them. Rare names are often spelt wrongly.",
    ),
    "codah": Recipe(
        task="multiple-choice",
        head="BertForMultipleChoice",
        objective="choice",
        summary="Common sense: which of four continuations makes sense.",
        epochs=3,
        rate=1e-3,
        batch=16,
        licence="ODC-By 1.0",
        note="Written to mislead models; chance is 25 %.",
    ),
    "nlupp": Recipe(
        task="text-classification",
        head="BertForSequenceClassification",
        objective="multi-label",
        summary="Requests to a bank or a hotel: any of 62 intents at once.",
        problem_type="multi_label_classification",
        epochs=24,
        rate=1e-3,
        licence="CC BY 4.0",
        note="Of the 20 folds per domain the last three are the test. A label is given at a "
        "probability above 0.5.",
    ),
    "stsb": Recipe(
        task="text-classification",
        head="BertForSequenceClassification",
        objective="regression",
        summary="Pairs of English sentences: how alike they are, from 0 to 5.",
        problem_type="regression",
        epochs=2,
        rate=1e-3,
        licence="CC BY-SA 4.0",
    ),
}


@click.command()
@click.argument("name", type=click.Choice([*RECIPES, "all"]))
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"),
              show_default=True, help="Folder of the data sets.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), default=DEMONSTRATIONS,
              help="Folder of the adapters; the package's by default.")  # fmt: skip
@click.option("--epochs", type=float, help="Instead of the recipe's.")
@click.option("--rate", type=float, help="Learning rate instead of the recipe's.")
@click.option("--dropout", type=float, help="Instead of the recipe's.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--score", "scoring", is_flag=True,
              help="Train nothing: score the adapter that is there again.")  # fmt: skip
@click.option("--try", "trying", is_flag=True,
              help="Leave the dev set out of training, score on it, write nothing.")  # fmt: skip
def main(
    name: str,
    data: Path,
    output: Path,
    epochs: float | None,
    rate: float | None,
    dropout: float | None,
    seed: int,
    *,
    scoring: bool,
    trying: bool,
) -> None:
    """Train the adapter NAME, or all of them."""
    torch.set_num_threads(1)
    given = {"epochs": epochs, "rate": rate, "dropout": dropout}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    try:
        for chosen in RECIPES if name == "all" else [name]:
            recipe = replace(RECIPES[chosen], **changes)
            splits = READERS[chosen](data, seed)
            if scoring:
                _score(chosen, recipe, splits, output)
            elif trying:
                _try(chosen, recipe, splits, seed)
            else:
                _make(chosen, recipe, splits, seed, output)
    except (BertExportError, OSError) as error:
        raise click.ClickException(str(error)) from error


def _try(name: str, recipe: Recipe, splits: Splits, seed: int) -> None:
    """Train on the training set alone and print the dev set's figures."""
    head, objective = _start(recipe, splits, seed)
    _train(name, head, objective, objective.encode(splits.train), recipe, seed)
    _console.print(name, "dev", len(splits.dev), objective.score(head, splits.dev))


def _make(name: str, recipe: Recipe, splits: Splits, seed: int, output: Path) -> None:
    """Train on all that is to be learnt from, write the adapter, then score what was written."""
    head, objective = _start(recipe, splits, seed)
    records = [*splits.train, *(() if splits.last else splits.dev)]
    minutes = _train(name, head, objective, objective.encode(records), recipe, seed)
    if splits.last:
        ending = replace(recipe, epochs=_LAST_EPOCHS, rate=_LAST_RATE * recipe.rate)
        minutes += _train(name, head, objective, objective.encode(splits.last), ending, seed)
    save_adapter(output / name, collect(head), _card(name, recipe, splits, seed))
    size = (output / name / ADAPTER).stat().st_size
    _console.print(f"{name}: {size} bytes, trained for {minutes:.1f} minutes")
    if size > _LARGEST:
        raise click.ClickException(f"adapter {name} has {size} bytes: expected at most {_LARGEST}.")
    _score(name, recipe, splits, output)


def _score(name: str, recipe: Recipe, splits: Splits, output: Path) -> None:
    """Read a written adapter back, score it in float32, put the figures into its card."""
    checkpoint = load_adapter(name, demonstrations=output)
    head = load_head(recipe.head, checkpoint)
    tokenizer = Tokenizer.from_str(checkpoint.tokenizer.json)
    objective = OBJECTIVES[recipe.objective](tokenizer, splits.labels)
    scores = {}
    for part, test in splits.test.items():
        scores[part] = {"examples": len(test), **_rounded(objective.score(head, test))}
        _console.print(name, part, scores[part])
    folder = output / name
    card = json.loads((folder / CARD).read_text(encoding="utf-8"))
    card["score"] = _headline(scores, splits)
    save_adapter(folder, load_file(folder / ADAPTER), card)
    update_table(output)


def _start(recipe: Recipe, splits: Splits, seed: int) -> tuple[BertHead, Objective]:
    """A head on the base model, ready to be trained, and its objective."""
    torch.manual_seed(seed)
    base = load_checkpoint("demo:minilm")
    config = adapted_config(base.config, config_of(recipe, splits))
    config |= {"architectures": [recipe.head]}
    tensors = adapted_tensors(base.tensors, config)
    tensors = initial_head(recipe.head, config, tensors) | tensors
    head = load_head(recipe.head, replace(base, config=config, tensors=tensors, sentence=None))
    attach(head, rank=recipe.rank, dropout=recipe.dropout)
    tokenizer = Tokenizer.from_str(base.tokenizer.json)
    return head, OBJECTIVES[recipe.objective](tokenizer, splits.labels)


def config_of(recipe: Recipe, splits: Splits) -> dict[str, Any]:
    """What the adapter's config says beyond the base's."""
    overrides: dict[str, Any] = {}
    if recipe.halves is not None:
        read, written = recipe.halves
        return {
            "model_type": "encoder-decoder",
            "encoder": {"num_hidden_layers": read},
            "decoder": {
                "num_hidden_layers": written,
                "is_decoder": True,
                "add_cross_attention": True,
            },
        }
    if splits.labels:
        overrides["id2label"] = {str(index): label for index, label in enumerate(splits.labels)}
        overrides["label2id"] = {label: index for index, label in enumerate(splits.labels)}
    if recipe.problem_type is not None:
        overrides["problem_type"] = recipe.problem_type
    if recipe.causal:
        overrides["is_decoder"] = True
    if recipe.layers is not None:
        overrides["num_hidden_layers"] = recipe.layers
    return overrides


def initial_head(
    name: str, config: Mapping[str, Any], base: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Values of the parameters that the base lacks.

    Weights are drawn small, biases are 0; the word head's transform starts as the identity with a
    gain of 0.6, the best of a few before any training, since its decoder is the word table.
    """
    with torch.device("meta"):
        wanted = HEADS[name](BertConfig.from_dict(config)).state_dict()  # type: ignore[call-arg]
    values: dict[str, Tensor] = {}
    for key, parameter in wanted.items():
        if key in base or key.endswith("cls.predictions.decoder.weight"):
            continue
        if key.endswith("cls.predictions.transform.dense.weight"):
            values[key] = torch.eye(*parameter.shape)
        elif key.endswith("cls.predictions.transform.LayerNorm.weight"):
            values[key] = torch.full(parameter.shape, 0.6)
        elif key.endswith("LayerNorm.weight"):
            values[key] = torch.ones(parameter.shape)
        elif key.endswith("bias"):
            values[key] = torch.zeros(parameter.shape)
        else:
            values[key] = torch.empty(parameter.shape).normal_(std=0.02)
    return values


def _train(
    name: str,
    head: BertHead,
    objective: Objective,
    rows: Sequence[Row],
    recipe: Recipe,
    seed: int,
) -> float:
    """Run the recipe; leaves the head in evaluation mode and gives the minutes it took."""
    if isinstance(objective, Pretraining | NextWord):
        objective.start_from_frequencies(head, rows)
    if isinstance(objective, Answers):
        objective.start_from_words(head, rows)
    steps = math.ceil(recipe.epochs * math.ceil(len(rows) / recipe.batch))
    warm = max(1, round(_WARM_UP * steps))
    optimizer = torch.optim.AdamW(trainable_groups(head, rate=recipe.rate), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    trained = [parameter for parameter in head.parameters() if parameter.requires_grad]
    start, average = time.monotonic(), 0.0
    head.train()
    with Progress(console=_console, refresh_per_second=0.2) as progress:
        bar = progress.add_task(name, total=steps)
        for step, batch in zip(range(steps), stream(rows, recipe.batch, seed), strict=False):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = objective.loss(head, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()
            schedule.step()
            average += (float(loss.detach()) - average) / min(step + 1, 50)
            progress.update(bar, advance=1, description=f"{name} loss {average:.3f}")
            if step % 100 == 0:
                progress.log(f"{name} step {step}/{steps} loss {average:.4f}")
    head.eval()
    return (time.monotonic() - start) / 60


def stream(rows: Sequence[Row], size: int, seed: int) -> Iterator[list[Row]]:
    """Batches without end: shuffled anew every epoch, rows of similar length together."""
    dice = random.Random(seed)
    while True:
        order = list(range(len(rows)))
        dice.shuffle(order)
        found = []
        for start in range(0, len(order), size * _BUCKET):
            bucket = sorted(order[start : start + size * _BUCKET], key=lambda i: rows[i].length)
            found += [bucket[at : at + size] for at in range(0, len(bucket), size)]
        dice.shuffle(found)
        yield from ([rows[index] for index in batch] for batch in found)


def _card(name: str, recipe: Recipe, splits: Splits, seed: int) -> dict[str, Any]:
    """Everything about the adapter but its score."""
    data = [
        {
            "name": source.name,
            "split": source.split,
            "examples": source.examples,
            "licence": source.licence,
            "source": source.source,
        }
        for source in splits.sources
    ]
    credit = [f"{source.name}: {source.attribution}" for source in splits.sources]
    card: dict[str, Any] = {} if recipe.halves is None else {"generation": _GENERATION}
    return card | {
        "name": name,
        "task": recipe.task,
        "summary": recipe.summary,
        "architectures": [recipe.head],
        "config": config_of(recipe, splits),
        "data": data,
        "attribution": f"{BASE_ATTRIBUTION}. " + " ".join(credit),
        "licence": recipe.licence,
        "seed": seed,
        "base": "all-MiniLM-L6-v2 (Apache-2.0)",
        "training": {
            "epochs": recipe.epochs,
            "rate": recipe.rate,
            "batch": recipe.batch,
            "rank": recipe.rank,
            "dropout": recipe.dropout,
        },
        "note": recipe.note,
        "command": f"python scripts/demonstrations/train.py {name}",
    }


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def _headline(scores: Mapping[str, Mapping[str, Any]], splits: Splits) -> dict[str, Any]:
    """The first figure of the first test set in front, all of them behind."""
    first = next(iter(scores.values()))
    metric = next(key for key in first if key != "examples")
    return {
        "metric": metric,
        "value": first[metric],
        "split": splits.test_split,
        "examples": first["examples"],
        "all": scores,
    }


if __name__ == "__main__":
    main()
