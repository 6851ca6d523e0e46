"""Uploading and saving with a model card; the module behind `late("publishing")`."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, create_repo, upload_folder
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from r2id.publishing.card import CARD, card_to_write, read_card


def upload(
    model: Any,
    repo_id: str,
    card: ModelCard | None,
    *,
    subfolder: str | None,
    saving: dict[str, Any],
    uploading: dict[str, Any],
    private: bool | None,
) -> Any:
    """Upload a network or a pipeline with a card; returns the result of `huggingface_hub.upload_folder`.

    Args:
        model: the model.
        repo_id: "name" or "organisation/name"; created if it does not exist.
        card: the card to upload. By default one is made from what is known, unless the repository has another than
            such a one; no card goes with a `subfolder`.
        subfolder: of the repository.
        saving: further arguments of the model's `save_pretrained`.
        uploading: `commit_message`, by default one that names the class, and further arguments of `upload_folder`.
        private: whether a new repository is.
    """
    token = uploading["token"]
    repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder, **saving)
        (folder / CARD).unlink(missing_ok=True)
        card = None if subfolder else card_to_write(model, card, _card_on_hub(repo_id, token), repo_id)
        if card:
            card.save(folder / CARD)
        message = uploading["commit_message"] or f"Upload {type(model).__name__}"
        return upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            path_in_repo=subfolder,
            **uploading | {"commit_message": message},
        )


def write_card(model: Any, card: ModelCard | None, folder: Path, temporary: Path) -> None:
    """Write the card that goes with a model to `temporary`, whose files then go to `folder`: the one that is given, or
    one from what is known, unless somebody's own is in `folder`."""
    written = card_to_write(model, card, read_card(folder / CARD))
    if written:
        written.save(temporary / CARD)


def _card_on_hub(repo_id: str, token: str | None) -> str | None:
    try:
        return str(ModelCard.load(repo_id, token=token))
    except (EntryNotFoundError, RepositoryNotFoundError):
        return None
