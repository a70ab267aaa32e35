"""The command line: one file per command; each parses, makes one library call and prints."""

from __future__ import annotations

import click
from click_default_group import DefaultGroup

from bert_export import __version__
from bert_export.cli.bench import bench_command
from bert_export.cli.build import build_command
from bert_export.cli.check_gpu import check_gpu_command
from bert_export.cli.evaluate import evaluate_command
from bert_export.cli.explain import explain_command
from bert_export.cli.export import export_command
from bert_export.cli.inspect import inspect_command
from bert_export.cli.report import report_command
from bert_export.cli.run import run_command
from bert_export.cli.tasks import tasks_command

__all__ = ["main"]


@click.group(
    cls=DefaultGroup,
    default="export",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="The export is the default: `bert-export --task token-classification --int8` needs no "
    "command name. `bert-export export --help` lists its options.",
)
@click.version_option(__version__, prog_name="bert-export")
def main() -> None:
    """Turn a trained BERT checkpoint into the fastest engine that still gives the same answers."""


main.add_command(export_command)
main.add_command(build_command)
main.add_command(run_command)
main.add_command(evaluate_command)
main.add_command(inspect_command)
main.add_command(explain_command)
main.add_command(bench_command)
main.add_command(report_command)
main.add_command(check_gpu_command)
main.add_command(tasks_command)
