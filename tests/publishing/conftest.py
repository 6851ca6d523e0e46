"""A tiny pipeline, and stand-ins for the hub and its cache."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from published import COMMIT

from r2id.files import hub
from r2id.files.cards import CARD


@pytest.fixture
def pipeline(make_pipeline):
    return make_pipeline()


@pytest.fixture
def in_cache(monkeypatch, tmp_path):
    """Puts a folder into an empty cache of the hub, as if it had been fetched."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def put(folder: Path, name: str) -> Path:
        repository = tmp_path / "cache" / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text(COMMIT)
        return shutil.copytree(folder, repository / "snapshots" / COMMIT)

    return put


class Hub:
    """Keeps what would be uploaded."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.card, self.calls = folder, None, []

    def create_repo(self, repo_id, **arguments):
        self.calls.append(arguments)
        return type("Url", (), {"repo_id": repo_id if "/" in repo_id else f"me/{repo_id}"})

    def upload_folder(self, *, repo_id, folder_path, path_in_repo, **arguments):
        self.calls.append(arguments)
        shutil.copytree(folder_path, self.folder / repo_id / (path_in_repo or ""), dirs_exist_ok=True)
        return f"https://hub/{repo_id}"

    def load(self, repo_id, **arguments):
        if not (self.folder / repo_id / CARD).exists():
            raise EntryNotFoundError("no card")
        return ModelCard((self.folder / repo_id / CARD).read_text())


@pytest.fixture
def online(monkeypatch, tmp_path):
    stand_in = Hub(tmp_path / "hub")
    monkeypatch.setattr(hub, "create_repo", stand_in.create_repo)
    monkeypatch.setattr(hub, "upload_folder", stand_in.upload_folder)
    monkeypatch.setattr(hub.ModelCard, "load", stand_in.load)
    return stand_in
