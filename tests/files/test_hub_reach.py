"""Where the hub does not answer, its clients read their cache and do not try again."""

import pytest
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import OfflineModeIsEnabled

from r2id.files.hub import hub_or_cache


@pytest.mark.parametrize(
    ("answer", "offline"),
    [(None, False), (ConnectionError("no network"), True), (ValueError("no name"), False),
     (OfflineModeIsEnabled("as asked"), False)],
)  # fmt: skip
def test_what_does_not_answer_is_not_asked_again(answer, offline, monkeypatch):
    def repo_info(*_, **__):
        if answer:
            raise answer

    monkeypatch.setattr(HfApi, "repo_info", repo_info)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with pytest.raises(KeyError), hub_or_cache("someone/model"):
        assert offline == constants.HF_HUB_OFFLINE
        raise KeyError
    assert not constants.HF_HUB_OFFLINE
