"""Saving replaces what was there as a whole, or not at all."""

from pathlib import Path

import pytest
from small_trainings import contents, resampler_training

from r2id.files.atomic import replace_folder, write_whole
from r2id.networks.resampler import R2IR
from r2id.training.setup import train_resampler


class TestFiles:
    @staticmethod
    def fill(text: str, fail: bool = False):
        def write(folder: Path) -> None:
            folder.mkdir(exist_ok=True)
            (folder / "first").write_text(text)
            if fail:
                raise OSError("no space left")
            (folder / "second").write_text(text)

        return write

    def test_a_folder_is_replaced_as_a_whole(self, tmp_path):
        folder = tmp_path / "deep" / "model"
        assert replace_folder(folder, self.fill("old")) == folder
        (folder / "extra").write_text("old")
        replace_folder(folder, self.fill("new"))
        assert contents(folder) == {"first": b"new", "second": b"new"}
        assert [path.name for path in folder.parent.iterdir()] == ["model"]

    def test_a_save_that_fails_halfway_leaves_the_old_folder_whole(self, tmp_path):
        folder = tmp_path / "model"
        replace_folder(folder, self.fill("old"))
        with pytest.raises(OSError, match="no space"):
            replace_folder(folder, self.fill("new", fail=True))
        assert contents(folder) == {"first": b"old", "second": b"old"}
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_replacement_that_fails_between_its_two_renames_brings_the_old_folder_back(self, tmp_path, monkeypatch):
        folder = tmp_path / "model"
        replace_folder(folder, self.fill("old"))
        rename, calls = Path.rename, []

        def fail_second(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", fail_second)
            with pytest.raises(KeyboardInterrupt):
                replace_folder(folder, self.fill("new"))
        assert contents(folder) == {"first": b"old", "second": b"old"}
        assert [path.name for path in tmp_path.iterdir()] == ["model"]

    def test_a_first_save_that_fails_halfway_leaves_nothing(self, tmp_path):
        with pytest.raises(OSError, match="no space"):
            replace_folder(tmp_path / "model", self.fill("new", fail=True))
        assert list(tmp_path.iterdir()) == []

    def test_a_file_that_fails_halfway_leaves_the_old_one_whole(self, tmp_path):
        path = tmp_path / "deep" / "picture.txt"
        write_whole(path, lambda temporary: temporary.write_text("old"))

        def fail(temporary: Path) -> None:
            temporary.write_text("ne")
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            write_whole(path, fail)
        assert contents(tmp_path) == {"deep/picture.txt": b"old"}
        assert list(path.parent.iterdir()) == [path]

    def test_an_interrupted_save_of_a_trained_model_leaves_the_earlier_one_whole(self, tmp_path, monkeypatch):
        folder = train_resampler(resampler_training(tmp_path))
        before = contents(folder)

        def fail(self, place, **options):
            (Path(place) / "config.json").write_text("{")
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(R2IR, "save_pretrained", fail)
            with pytest.raises(KeyboardInterrupt):
                train_resampler(resampler_training(tmp_path, resume=True, steps=9))
        assert contents(folder) == before
