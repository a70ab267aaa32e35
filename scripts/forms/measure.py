"""Time the candidate forms of each block of a layer on this host, and write the table.

Usage::

    python scripts/forms/measure.py                     # writes graphs/FORMS.md
    python scripts/forms/measure.py --quick             # a look; writes nothing
    python scripts/forms/measure.py --block attention --shapes 8x128 --sizes minilm

Every form is checked against a reference before it is timed; one that ONNX Runtime refuses is a
row with the reason. ``scripts/forms/`` holds the forms, one row of a table each; ``CHOSEN`` says
which of them the recipes emit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

import click

from bert_export.bundle import write_whole
from bert_export.cli.measuring import drawn
from bert_export.measuring.machine import describe_machine, installed_versions
from scripts.benchmarks.common.report import show
from scripts.forms import BLOCKS, SIZES
from scripts.forms.form import Block, Size, Workload
from scripts.forms.linear import FOLDED
from scripts.forms.tables import Choice, Outcome, Results, as_markdown, as_report, check_choices
from scripts.forms.timing import Case, Pace, Row, call_cost, measure_block, share_threads

_ATTENTION = "If full: Attention 3-D; float mask (B,1,S,S)"
_NO_SPLIT = "the Split of merged ones copies what their product saves"
_MATMUL = Choice("MatMul + Add", "standard operators, which every target reads")
_STATIC = Choice(
    "static u8, MatMulIntegerToFloat with bias",
    "no scan for the range, no pass for the bias, and a text's answer is its own",
)

CHOSEN: Mapping[tuple[str, str], Choice] = {
    ("attention", "padded"): Choice(
        _ATTENTION, "standard operators without transposes; the If costs a microsecond"
    ),
    ("attention", "nothing to mask"): Choice(
        _ATTENTION, "one graph serves padded batches too, and reads no mask here"
    ),
    ("mask", "float_square"): Choice(
        "Cast, Sub, Mul, Expand", "ONNX Runtime takes no mask with one row; as the trace adds it"
    ),
    ("mask", "full"): Choice("ReduceMin, Cast", "the condition of every layer's If"),
    ("normalization", "residual"): Choice(
        "Add + LayerNormalization", "INT8, where the bias is in the product"
    ),
    ("normalization", "residual and bias"): Choice(
        "Add + LayerNormalization", "FP32, where the bias is an Add of the linear layer"
    ),
    ("gelu", "erf"): Choice("Gelu", "INT8, where the bias is in the product"),
    ("gelu", "erf after a bias"): Choice("Add + Gelu", "FP32; standard operators"),
    ("gelu", "tanh"): Choice("Gelu, tanh", "checkpoints with gelu_new in INT8"),
    ("gelu", "tanh after a bias"): Choice("Add + Gelu, tanh", "checkpoints with gelu_new in FP32"),
    ("linear FP32, H to H", ""): _MATMUL,
    ("linear FP32, H to 4H", ""): _MATMUL,
    ("linear FP32, 4H to H", ""): _MATMUL,
    ("linear FP32, H to Q, K, V", ""): Choice("MatMul + Add; separate", _NO_SPLIT),
    ("linear FP32, H to vocabulary", ""): _MATMUL,
    ("linear INT8, H to H", ""): _STATIC,
    ("linear INT8, H to 4H", ""): _STATIC,
    ("linear INT8, 4H to H", ""): _STATIC,
    ("linear INT8, H to Q, K, V", ""): Choice(f"{_STATIC.form}; separate", _NO_SPLIT),
    **{
        (f"linear {precision}, {layers}", FOLDED): Choice(
            form, "keys, values and feed-forward outputs have no bias left"
        )
        for precision, form in (("FP32", "MatMul"), ("INT8", "static u8, MatMulIntegerToFloat"))
        for layers in ("H to H", "4H to H")
    },
    # The vocabulary projection stays in float, so its INT8 block has no choice.
    ("projections and attention", "FP32"): Choice(
        "MatMul + Add; separate; Attention 3-D", _NO_SPLIT
    ),
    ("projections and attention", "INT8"): Choice(
        "static u8, MatMulIntegerToFloat; separate; Attention 3-D", _NO_SPLIT
    ),
}
"""What the recipes emit, by block and variant, and why."""

_OUTPUT = Path(__file__).resolve().parents[2] / "graphs" / "FORMS.md"
_PACKAGES = ("bert-export", "numpy", "onnx-ir", "onnxruntime")
_FULL_PACE = Pace(rounds=8, seconds=0.02, calls=3)
_QUICK_PACE = Pace(rounds=1, seconds=0.002, calls=1)


class _Shapes(click.ParamType[tuple[Workload, ...]]):
    """Such as ``1x16,8x128``: batch and sequence."""

    name = "BxS,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Workload, ...]:
        found = []
        for item in str(value).split(","):
            batch, _, sequence = item.strip().partition("x")
            if not (batch.isdecimal() and sequence.isdecimal() and int(batch) and int(sequence)):
                self.fail(f"{item!r} is not batch x sequence, such as 8x128", param, ctx)
            found.append(Workload(int(batch), int(sequence)))
        return tuple(found)


class _Sizes(click.ParamType[tuple[Size, ...]]):
    """Such as ``minilm,bert-base``."""

    name = "NAME,..."

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Size, ...]:
        known = {size.name: size for size in SIZES}
        names = [item.strip() for item in str(value).split(",")]
        for item in names:
            if item not in known:
                self.fail(f"{item!r} is not one of {', '.join(known)}", param, ctx)
        return tuple(known[item] for item in names)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--shapes", type=_Shapes(), default="1x16,1x128,8x128,32x64", show_default=True)
@click.option("--sizes", type=_Sizes(), default="minilm,bert-base", show_default=True)
@click.option("--threads", type=click.IntRange(min=1), default=2, show_default=True)
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    help=f"Turns of each form.  [default: {_FULL_PACE.rounds}; {_QUICK_PACE.rounds} with --quick]",
)
@click.option("--block", "only", multiple=True, help="Only blocks with this in their name.")
@click.option("--quick", is_flag=True, help="Few calls: shows what runs, not how fast.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The Markdown file.  [default: graphs/FORMS.md; none with --quick or --block]",
)
@click.option("--json", "destination", metavar="FILE", help="JSON too; - for stdout.")
def main(
    *,
    shapes: tuple[Workload, ...],
    sizes: tuple[Size, ...],
    threads: int,
    rounds: int | None,
    only: tuple[str, ...],
    quick: bool,
    output: Path | None,
    destination: str | None,
) -> None:
    """Time the candidate forms of each block of a layer on this host."""
    check_choices(CHOSEN, BLOCKS)
    blocks = [block for block in BLOCKS if not only or any(part in block.name for part in only)]
    if not blocks:
        raise click.UsageError(
            f"no block is named like that. There are: {'; '.join(block.name for block in BLOCKS)}."
        )
    full = _QUICK_PACE if quick else _FULL_PACE
    pace = Pace(rounds or full.rounds, full.seconds, full.calls)
    machine = describe_machine()
    share_threads(threads)
    command = [
        *(
            "python scripts/forms/measure.py",
            "--shapes",
            ",".join(f"{work.batch}x{work.sequence}" for work in shapes),
        ),
        *("--sizes", ",".join(size.name for size in sizes), f"--threads {threads}"),
        f"--rounds {pace.rounds}",
        *(f'--block "{part}"' for part in only),
        *(["--quick"] if quick else []),
    ]
    results = Results(
        machine=machine,
        versions=installed_versions(_PACKAGES),
        settings={"threads": threads, "rounds": pace.rounds, "quick": quick},
        command=" ".join(command),
        call_cost=call_cost(pace),
        outcomes=_measure(blocks, sizes, shapes, pace),
        chosen=CHOSEN,
    )
    show(as_report(results), destination)
    if output is None and not quick and not only:
        output = _OUTPUT
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_whole(output, as_markdown(results).encode())
        click.echo(f"wrote {output}", err=True)


def _measure(
    blocks: Sequence[Block], sizes: Sequence[Size], shapes: tuple[Workload, ...], pace: Pace
) -> list[Outcome]:
    outcomes = []
    total = sum(len(block.workloads or shapes) for block in blocks) * len(sizes)
    number = count()
    with drawn(quiet=False) as listener:

        def step(what: str) -> None:
            listener.begin(what, done=next(number), total=total)

        for block in blocks:
            workloads = block.workloads or shapes
            rows = tuple(Row(form) for form in block.forms)
            for size in sizes:
                measure_block(block, size, workloads, rows, pace, step)
            cases = tuple(Case(size.name, work) for size in sizes for work in workloads)
            outcomes.append(Outcome(block, cases, rows))
    return outcomes


if __name__ == "__main__":
    main()
