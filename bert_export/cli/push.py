"""``bert-export push``: a bundle to the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

import click

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, print_json, stdout
from bert_export.cli.option_groups import Command

__all__ = ["push_command"]


@click.command("push", cls=Command)
@click.argument("bundle", type=values.BUNDLE)
@click.argument("hub_id", metavar="HUB_ID")
@click.option("--private", is_flag=True, help="Make a new repository private.")
@click.option(
    "--licence",
    metavar="NAME",
    help="Of the weights, as the hub spells it, such as apache-2.0.  [default: as the source says]",
)
@click.option("--message", help="Of the commit.")
@click.option("--card", is_flag=True, help="Print the model card, and push nothing.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def push_command(
    bundle: str,
    hub_id: str,
    *,
    private: bool,
    licence: str | None,
    message: str | None,
    card: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Put BUNDLE on the hub as HUB_ID, owner/name, with a model card made from its manifest.

    load("owner/name"), run, evaluate, inspect and explain take that id for a bundle.
    """
    with errors_on_one_line():
        if card:
            _print_card(bundle, hub_id, licence)
            return
        from bert_export.exporter.push import push

        address = push(bundle, hub_id, private=private, licence=licence, message=message)
        if as_json:
            print_json({"bundle": bundle, "hub_id": hub_id, "commit": address})
        elif not quiet:
            stdout.print(f"pushed {bundle} as {hub_id}: {address}")


def _print_card(bundle: str, hub_id: str, licence: str | None) -> None:
    from bert_export.bundle import read_bundle
    from bert_export.exporter.model_card import find_licence, model_card

    manifest = read_bundle(Path(bundle))
    licence = licence or find_licence(manifest)
    stdout.out(model_card(manifest, hub_id=hub_id, licence=licence), end="", highlight=False)
