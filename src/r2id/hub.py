"""The Hugging Face hub and diffusers' own loading: folders uploaded with a card, fetched, and read without R2Pipeline.

diffusers runs code that lies beside weights, if it is trusted. What `add_code` leaves there only names the classes of
this package, so it needs no trust from those who have imported them: `importable` sends them past the code.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, create_repo, snapshot_download, upload_folder
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from r2id.card import CARD, card_to_write

PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")


class Publishing:
    """Goes before diffusers' PushToHubMixin, to upload with a card that says what is known."""

    save_pretrained: Any

    def push_to_hub(
        self,
        repo_id: str,
        commit_message: str | None = None,
        private: bool | None = None,
        token: str | None = None,
        create_pr: bool = False,
        safe_serialization: bool = True,
        variant: str | None = None,
        subfolder: str | None = None,
        card: ModelCard | None = None,
    ) -> Any:
        """Upload to the Hugging Face hub, as diffusers does, with a model card.

        Args:
            repo_id: "name" or "organisation/name"; made if it is not there.
            commit_message, private, token, create_pr, safe_serialization, variant, subfolder: as in diffusers.
            card: the card to upload, from `r2id.card.model_card` or of your own. By default one is made from what is
                known, unless the repository has another than such a one; no card goes with a `subfolder`.
        Returns:
            What `huggingface_hub.upload_folder` returns.
        """
        repo_id = create_repo(repo_id, private=private, token=token, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            self.save_pretrained(folder, safe_serialization=safe_serialization, variant=variant)
            (folder / CARD).unlink(missing_ok=True)
            card = None if subfolder else card_to_write(self, card, _card_on_hub(repo_id, token), repo_id)
            if card:
                card.save(folder / CARD)
            return upload_folder(
                repo_id=repo_id,
                folder_path=folder,
                path_in_repo=subfolder,
                commit_message=commit_message or f"Upload {type(self).__name__}",
                token=token,
                create_pr=create_pr,
            )


def for_upload(folder: str | os.PathLike, arguments: dict[str, Any]) -> dict[str, Any]:
    """Take what `push_to_hub` needs out of the arguments of a `save_pretrained`."""
    names = ("repo_id", "commit_message", "private", "token", "create_pr")
    taken = {name: arguments.pop(name) for name in names if name in arguments}
    shared = {name: arguments[name] for name in ("safe_serialization", "variant") if name in arguments}
    return {"repo_id": Path(folder).resolve().name} | taken | shared


def _card_on_hub(repo_id: str, token: str | None) -> str | None:
    try:
        return str(ModelCard.load(repo_id, token=token))
    except (EntryNotFoundError, RepositoryNotFoundError):
        return None


def fetch(name: str, config: dict[str, Any], variant: str | None, **where: Any) -> str:
    """The folder of a pipeline on the hub, or in its cache: of its parts what is no pickle, and of another variant.

    Args:
        name: hub id.
        config: of the pipeline; names its parts.
        variant: such as "fp16"; a part that has no weights of it comes with its others.
        where: revision, token, cache and the like, for `huggingface_hub.snapshot_download`.
    """
    parts = [part for part, value in config.items() if isinstance(value, list) and value[0]]

    def get(pattern: str, wanted: Iterable[str], left_out: Sequence[str]) -> str:
        files = ["model_index.json", *(f"{part}/{pattern}" for part in wanted)]
        return snapshot_download(name, allow_patterns=files, ignore_patterns=[*PICKLES, *left_out], **where)

    if not variant:
        return get("*", parts, ["*.*.safetensors"])
    folder, weights = Path(get("*", parts, ["*.safetensors"])), f"*.{variant}*.safetensors"
    get(weights, parts, [])
    return get("*.safetensors", (part for part in parts if not any((folder / part).glob(weights))), ["*.*.safetensors"])


def add_code(folder: Path, pipeline: Any) -> None:
    """Let a saved pipeline name its classes as files beside its weights, where diffusers looks for foreign ones."""
    index = folder / "model_index.json"
    config = json.loads(index.read_text())
    config["_class_name"] = ["pipeline", type(pipeline).__name__]
    _write_import(folder / "pipeline.py", type(pipeline))
    for part, value in config.items():
        kind = type(getattr(pipeline, part)) if isinstance(value, list) and part != "_class_name" else None
        if kind and value == [kind.__module__, kind.__name__]:
            value[0] = kind.__module__.replace(".", "_")
            _write_import(folder / part / f"{value[0]}.py", kind)
    index.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _write_import(path: Path, kind: type) -> None:
    path.write_text(f"from {kind.__module__} import {kind.__name__}  # noqa: F401\n")


def importable(config: dict[str, Any], class_name: str) -> dict[str, Any]:
    """The config of a saved pipeline with modules that are imported in place of those that `add_code` wrote."""
    modules = {name.replace(".", "_"): name for name in sys.modules}
    parts = {
        part: [modules.get(value[0], value[0]), *value[1:]] for part, value in config.items() if isinstance(value, list)
    }
    return config | parts | {"_class_name": class_name}
