"""Where the hub does not answer, its clients read their cache and do not try again."""

import datasets
import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import OfflineModeIsEnabled

from r2id import R2IR, InputError
from r2id.data.hub import hub_content
from r2id.files.hub import answers


@pytest.fixture
def asked(monkeypatch):
    """Lets the hub answer with an error, or well; returns what is asked of diffusers and datasets."""
    asked = []

    def from_pretrained(*_, local_files_only=False, **__):
        asked.append(local_files_only)
        raise KeyError("not there")

    def load_dataset(*_, **__):
        asked.append(datasets.config.HF_HUB_OFFLINE)
        raise KeyError("not there")

    monkeypatch.setattr("diffusers.models.modeling_utils.ModelMixin.from_pretrained", from_pretrained)
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    return asked


@pytest.mark.parametrize(
    ("answer", "offline"),
    [(None, False), (ConnectionError("no network"), True), (ValueError("no name"), False),
     (OfflineModeIsEnabled("as asked"), False)],
)  # fmt: skip
def test_what_does_not_answer_is_not_asked_again(answer, offline, asked, monkeypatch):
    def repo_info(*_, **__):
        if answer:
            raise answer

    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    assert answers("someone/model") == (not offline)
    with pytest.raises(InputError, match="no model of the hub within reach"):
        R2IR.from_pretrained("someone/model")
    with pytest.raises(InputError, match="could not be loaded from the Hugging Face hub"):
        hub_content("someone/data", "train", 0, None)
    assert asked == [offline, offline]
    assert not datasets.config.HF_HUB_OFFLINE
