"""The command line: one file per command; each parses, makes one library call and prints."""

from __future__ import annotations

import click

from bert_export import __version__
from bert_export.cli.command_group import CommandGroup

__all__ = ["main"]

_NAMES = (
    "export",
    "build",
    "run",
    "serve",
    "evaluate",
    "inspect",
    "explain",
    "bench",
    "report",
    "push",
    "hand-over",
    "check-gpu",
    "cpp",
    "tasks",
)

_EPILOG = """\
The export is the default: `bert-export --task token-classification --int8` needs no command name.
`bert-export export --help` lists its options.

\b
Exit codes:
  0    done
  1    failed: a file, a checkpoint, a package or a machine is not what it must be
  2    misused: an unknown command, option or name, or options that exclude each other
  130  interrupted by Ctrl-C; 128 + N: ended by signal N

\b
Completion of commands, options and values by Tab, for a shell's start file:
  bash  eval "$(_BERT_EXPORT_COMPLETE=bash_source bert-export)"
  zsh   eval "$(_BERT_EXPORT_COMPLETE=zsh_source bert-export)"
  fish  _BERT_EXPORT_COMPLETE=fish_source bert-export | source
"""


def _home(name: str) -> str:
    module = name.replace("-", "_")
    return f"{__name__}.{module}:{module}_command"


@click.group(
    cls=CommandGroup,
    homes={name: _home(name) for name in _NAMES},
    default="export",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(__version__, prog_name="bert-export")
def main() -> None:
    """Turn a trained BERT checkpoint into the fastest engine that still gives the same answers."""
