"""A bundle to the Hugging Face hub, as one commit, with a page made from its manifest."""

from __future__ import annotations

import contextlib
from pathlib import Path

from bert_export.bundle import MANIFEST, read_bundle, read_steadily
from bert_export.errors import BundleError, InputError, MissingExtraError, shown
from bert_export.exporter.model_card import CARD_FILE, find_licence, model_card
from bert_export.foreign_errors import what_a_hub_says
from bert_export.runtime.hub import hub_bars, is_hub_id

__all__ = ["push"]


def push(
    bundle: str | Path,
    hub_id: str,
    *,
    private: bool = False,
    licence: str | None = None,
    message: str | None = None,
) -> str:
    """Put a bundle on the hub; :func:`bert_export.load` takes its id.

    The files that the manifest lists, the manifest and a model card are one commit, so that nobody
    finds a bundle in part. Log in with ``hf auth login``, or set ``HF_TOKEN``.

    Args:
        bundle: Its folder; every file is compared with its recorded sha256 before.
        hub_id: ``owner/name``; the repository is made where there is none.
        private: Whether a repository that is made is private.
        licence: Of the weights, as the hub spells it, such as ``apache-2.0``; what the source
            states, where that is known, when ``None``.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        BundleError: The bundle is not whole, or the hub refuses it.
        InputError: ``hub_id`` is none.
        MissingExtraError: ``huggingface_hub`` is not installed.
    """
    if not is_hub_id(hub_id) or "@" in hub_id:
        raise InputError(
            f"hub id {shown(hub_id)} is malformed", expected="owner/name", got=shown(hub_id)
        )
    folder = Path(bundle)
    with read_steadily(folder, lambda: _OpenBundle(folder), discard=_OpenBundle.close) as opened:
        return _commit(opened, folder, hub_id, private=private, licence=licence, message=message)


class _OpenBundle(contextlib.ExitStack):
    """A whole bundle's files, open: they stay what they are though the folder is replaced."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.manifest = read_bundle(folder)
        self.files = {
            name: self.enter_context((folder / name).open("rb"))
            for name in (*self.manifest.files, MANIFEST)
        }


def _commit(
    bundle: _OpenBundle,
    folder: Path,
    hub_id: str,
    *,
    private: bool,
    licence: str | None,
    message: str | None,
) -> str:
    manifest = bundle.manifest
    card = model_card(manifest, hub_id=hub_id, licence=licence or find_licence(manifest))
    try:
        from huggingface_hub import CommitOperationAdd, HfApi
    except ImportError as error:
        raise MissingExtraError(f"push of bundle {folder}", extra="hub") from error
    operations = [CommitOperationAdd(CARD_FILE, card.encode())]
    operations += [CommitOperationAdd(name, file) for name, file in bundle.files.items()]
    hub = HfApi()
    try:
        with hub_bars():
            hub.create_repo(hub_id, private=private, exist_ok=True)
            commit = hub.create_commit(
                hub_id, operations, commit_message=message or f"Bundle for {manifest.task}"
            )
    except Exception as error:  # each HTTP library below has its own tree
        raise BundleError(
            f"bundle {folder} cannot be pushed to {hub_id}",
            got=what_a_hub_says(error),
            fix="Check the connection, or log in with: hf auth login",
        ) from error
    return str(commit.commit_url)
