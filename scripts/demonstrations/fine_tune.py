"""Fine-tune all of MiniLM on one of the demonstrations' data sets: a Hugging Face directory.

Usage::

    python scripts/demonstrations/fine_tune.py wnut17 --output heads/wnut17
    python scripts/demonstrations/fine_tune.py snips --output heads/snips --epochs 1 --threads 2

Data, objective, epochs and score are those of ``train.py``; here every parameter is trained,
at a rate of 1e-4 (the new head's at five times that), and the whole model is written. Products are
bfloat16 where the processor multiplies that type, float32 elsewhere, where it would take six times
as long.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save_file
from tokenizers import Tokenizer

from bert_export.checkpoints import Checkpoint, load_checkpoint
from bert_export.errors import BertExportError
from bert_export.measuring.machine import describe_machine
from bert_export.models import BertHead, load_head
from scripts.demonstrations.data import READERS, Splits
from scripts.demonstrations.objectives import OBJECTIVES, NextWord, Objective, Pretraining
from scripts.demonstrations.train import RECIPES, Recipe, config_of, initial_head, stream

_RATE, _HEAD_RATE = 1e-4, 5e-4
_WARM_UP = 0.1  # share of the steps
_console = Console(stderr=True)


@click.command()
@click.argument("name", type=click.Choice(list(RECIPES)))
@click.option("--data", type=click.Path(path_type=Path), default=Path("../shared/data"),
              show_default=True, help="Folder of the data sets.")  # fmt: skip
@click.option("--output", type=click.Path(path_type=Path), required=True,
              help="The directory that is written.")  # fmt: skip
@click.option("--epochs", type=click.FloatRange(min=0, min_open=True),
              help="[default: those of the demonstration]")  # fmt: skip
@click.option("--threads", type=int, default=1, show_default=True)
@click.option("--seed", type=int, default=0, show_default=True)
def main(
    name: str, data: Path, output: Path, epochs: float | None, threads: int, seed: int
) -> None:
    """Train on the training and development records of NAME, score on its test set."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    try:
        recipe, splits = RECIPES[name], READERS[name](data, seed)
        base = load_checkpoint("demo:minilm")
        config = base.config | config_of(recipe, splits) | {"architectures": [recipe.head]}
        tensors = initial_head(recipe.head, config, base.tensors) | base.tensors
        start = replace(base, config=config, tensors=tensors, sentence=None)
        head = load_head(recipe.head, start)
        tokenizer = Tokenizer.from_str(base.tokenizer.json)
        objective = OBJECTIVES[recipe.objective](tokenizer, splits.labels)
        _train(head, objective, splits, recipe, epochs=epochs or recipe.epochs, seed=seed)
        _write(output, head, start)
    except (BertExportError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for part, records in splits.test.items():
        _console.print(name, part, objective.score(head, records))


def _train(
    head: BertHead,
    objective: Objective,
    splits: Splits,
    recipe: Recipe,
    *,
    epochs: float,
    seed: int,
) -> None:
    """Train every parameter; leaves the head in evaluation mode."""
    rows = objective.encode([*splits.train, *splits.dev])
    if isinstance(objective, Pretraining | NextWord):
        objective.start_from_frequencies(head, rows)
    for parameter in head.parameters():
        parameter.data = parameter.data.clone()
        parameter.requires_grad_()
    steps = math.ceil(epochs * math.ceil(len(rows) / recipe.batch))
    warm = max(1, round(_WARM_UP * steps))
    optimizer = torch.optim.AdamW(_groups(head), betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm, (steps - step) / max(1, steps - warm))
    )
    mixed = "avx512_bf16" in describe_machine()["instructions"]
    begun = time.monotonic()
    head.train()
    with Progress(console=_console, transient=True, refresh_per_second=0.5) as progress:
        bar = progress.add_task("training", total=steps)
        for _, batch in zip(range(steps), stream(rows, recipe.batch, seed), strict=False):
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
                loss = objective.loss(head, batch)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            progress.update(bar, advance=1, description=f"loss {float(loss.detach()):.3f}")
    head.eval()
    _console.print(f"{steps} steps in {(time.monotonic() - begun) / 60:.1f} minutes")


def _groups(head: BertHead) -> list[dict[str, Any]]:
    """The encoder's parameters, and the new head's at its own rate."""
    encoder: list[torch.nn.Parameter] = []
    new: list[torch.nn.Parameter] = []
    for name, parameter in head.named_parameters():
        (encoder if name.startswith("bert.") else new).append(parameter)
    return [
        {"params": encoder, "lr": _RATE, "weight_decay": 0.01},
        {"params": new, "lr": _HEAD_RATE, "weight_decay": 0.01},
    ]


def _write(folder: Path, head: BertHead, start: Checkpoint) -> None:
    """Write the directory; its weights last, which say that it is whole."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = start.tokenizer
    (folder / "tokenizer.json").write_text(tokenizer.json, encoding="utf-8")
    settings = {
        "tokenizer_class": "BertTokenizerFast",
        "do_lower_case": tokenizer.do_lower_case,
        "model_max_length": tokenizer.max_length or start.config["max_position_embeddings"],
    }
    for name, value in (("tokenizer_config.json", settings), ("config.json", start.config)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    tensors = {
        name.replace("predictions.decoder.bias", "predictions.bias"): tensor.float().contiguous()
        for name, tensor in head.state_dict().items()
        if name != "cls.predictions.decoder.weight"  # the word table
    }
    copies = {name: tensor.clone() for name, tensor in tensors.items()}
    save_file(copies, folder / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
