"""``bert-export serve``: bundles over HTTP."""

from __future__ import annotations

import click

from bert_export.cli import values
from bert_export.cli.console import errors_on_one_line, stderr
from bert_export.cli.option_groups import Command

__all__ = ["serve_command"]


@click.command("serve", cls=Command)
@click.argument("bundles", type=values.BUNDLE, nargs=-1, required=True, metavar="BUNDLE...")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Port to listen on; 0 for any that is free.",
)
@click.option(
    "--task",
    type=values.TASK,
    help="Another task of the same head, such as zero-shot-classification.",
)
@click.option(
    "--target",
    type=values.TARGET,
    help="Whose engines answer.  [default: each bundle's default target]",
)
@click.option("--threads", type=click.IntRange(min=1), help="Threads inside an operator.")
@click.option(
    "--workers",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Processes, each with engines of its own.",
)
@click.option(
    "--queue", type=click.IntRange(min=1), help="Requests that a bundle holds.  [default: 512]"
)
@click.option("--max-items", type=click.IntRange(min=1), help="Texts of a request.  [default: 32]")
@click.option(
    "--max-tokens", type=click.IntRange(min=1), help="Tokens of a request.  [default: 16384]"
)
@click.option("--max-characters", type=click.IntRange(min=1), help="Of a text.  [default: 100000]")
@click.option(
    "--api-key-file",
    metavar="FILE",
    help="Keys, one a line; requests bring one as Authorization: Bearer KEY.",
)
@click.option("--ssl-certfile", metavar="FILE", help="The server's certificate, for TLS.")
@click.option("--ssl-keyfile", metavar="FILE", help="Its private key.")
def serve_command(
    *,
    bundles: tuple[str, ...],
    host: str,
    port: int,
    task: str | None,
    target: str | None,
    threads: int | None,
    workers: int,
    queue: int | None,
    max_items: int | None,
    max_tokens: int | None,
    max_characters: int | None,
    api_key_file: str | None,
    ssl_certfile: str | None,
    ssl_keyfile: str | None,
) -> None:
    """Answer over HTTP with BUNDLES until SIGTERM or Ctrl-C.

    The first bundle answers at /, each at /models/NAME, where the name is that of its folder.
    Clients of Hugging Face, Text Embeddings Inference, OpenAI (embeddings), KServe and SageMaker
    find their routes; /openapi.json lists all, and / is a page to try them on.
    """
    with errors_on_one_line():
        from bert_export.importing import needs_extra

        with needs_extra("bert-export serve", extra="serve"):
            from bert_export.serving.limits import Limits
            from bert_export.serving.server import Service, serve

        given = {
            "queue": queue,
            "items": max_items,
            "tokens": max_tokens,
            "characters": max_characters,
        }
        named = {name: value for name, value in given.items() if value is not None}
        serve(
            Service(
                bundles=bundles,
                task=task,
                target=target,
                threads=threads,
                limits=Limits(**named),
                key_file=api_key_file,
                host=host,
                port=port,
                workers=workers,
                certificate=ssl_certfile,
                key=ssl_keyfile,
            ),
            started=lambda address: stderr.print(f"serving {', '.join(bundles)} at {address}"),
        )
