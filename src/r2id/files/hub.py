"""The Hugging Face hub: whether it answers, and uploading with a model card."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, ModelCard, create_repo, upload_folder
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError

from r2id.files.cards import CARD, card_to_write

SECONDS = 10.0
"""Seconds to wait for the hub's first answer."""


def answers(name: str, kind: str = "model") -> bool:
    """Return whether the hub answers when asked for a repository, or is switched off.

    Where it does not, its clients are to read their cache alone. They would otherwise retry for half a minute.
    """
    try:
        HfApi().repo_info(name, repo_type=kind, timeout=SECONDS)
    except (HfHubHTTPError, OfflineModeIsEnabled, ValueError):
        # It answered, is switched off, or the name is invalid, which the loader reports.
        return True
    except Exception:
        # The library behind these errors differs between versions of the hub's client.
        return False
    return True


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


def _card_on_hub(repo_id: str, token: str | None) -> str | None:
    try:
        return str(ModelCard.load(repo_id, token=token))
    except (EntryNotFoundError, RepositoryNotFoundError):
        return None
