"""Files and folders are whole or absent: when a process is killed, and when the disk is full."""

import errno
import os
import resource
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from r2id.errors import InputError
from r2id.files.atomic import (
    TEMPORARY,
    check_writable,
    clear_leftovers,
    fill_folder,
    free_space,
    remove_folder,
    replace_folder,
    write_whole,
)


class Killed(BaseException):
    """Stands for SIGKILL, after which not even `finally` runs: cleaning up is switched off with it."""


@pytest.fixture
def killed(monkeypatch):
    """Ends a call at a given rename, with everything left lying as a killed process leaves it."""

    @contextmanager
    def at_rename(number: int):
        rename, calls = Path.rename, []

        def renaming(path: Path, target: Path) -> Path:
            calls.append(path)
            if len(calls) >= number:
                raise Killed
            return rename(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "rename", renaming)
            patch.setattr("tempfile.TemporaryDirectory.cleanup", lambda self: self._finalizer.detach())
            with pytest.raises(Killed):
                yield

    return at_rename


def fill(text: str):
    return lambda folder: (folder / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(("rename", "kept"), [(1, "old"), (2, "old")])
def test_a_folder_comes_back_if_its_replacement_was_killed_at_either_rename(tmp_path, killed, rename, kept):
    folder = replace_folder(tmp_path / "model", fill("old"))
    with killed(rename):
        replace_folder(folder, fill("new"))
    assert any(name.startswith(TEMPORARY) for name in names(tmp_path)) and folder.exists() == (rename == 1)
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["model"] and (folder / "file").read_text() == kept


def test_leftovers_of_a_finished_replacement_do_not_come_back(tmp_path, monkeypatch):
    folder = replace_folder(tmp_path / "model", fill("old"))
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryDirectory.cleanup", lambda self: self._finalizer.detach())
        replace_folder(folder, fill("new"))
    assert len(names(tmp_path)) == 2
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["model"] and (folder / "file").read_text() == "new"


def test_a_folder_is_removed_under_another_name(tmp_path, monkeypatch):
    folder = replace_folder(tmp_path / "step-1", fill("old"))
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.TemporaryDirectory.cleanup", lambda self: self._finalizer.detach())
        remove_folder(folder)
    assert not folder.exists()
    clear_leftovers(tmp_path)
    assert not names(tmp_path)


LARGEST = 1 << 14


@contextmanager
def full_disk():
    """No file may grow beyond a few kilobytes, which the system answers as it does where the disk is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def as_text(path: Path) -> None:
    path.write_text("x" * (LARGEST + 1))


def as_tensors(path: Path) -> None:
    save_file({"weight": torch.zeros(LARGEST)}, path)


@pytest.mark.parametrize("write", [as_text, as_tensors])
def test_a_full_disk_is_an_error_of_the_system_under_the_name_of_the_caller(tmp_path, write):
    def into(folder: Path) -> None:
        write(folder / "file")

    write_whole(tmp_path / "one", lambda path: path.write_text("old"))
    replace_folder(tmp_path / "two", fill("old"))
    fill_folder(tmp_path / "three", fill("old"))
    for call, path, fails in (
        (write_whole, tmp_path / "one", write),
        (replace_folder, tmp_path / "two", into),
        (fill_folder, tmp_path / "three", into),
    ):
        with full_disk(), pytest.raises(OSError) as error:
            call(path, fails)
        assert (error.value.errno, error.value.filename) == (errno.EFBIG, str(path))
        assert error.value.strerror == "File too large"
    assert names(tmp_path) == ["one", "three", "two"]
    kept = [tmp_path / "one", tmp_path / "two" / "file", tmp_path / "three" / "file"]
    assert [path.read_text() for path in kept] == ["old"] * 3 and names(tmp_path / "three") == ["file"]


@pytest.mark.parametrize("write", [write_whole, fill_folder, replace_folder])
def test_a_file_where_a_folder_should_be_is_named(write, tmp_path):
    (tmp_path / "file").write_text("kept")
    for below in ("one/two", "one/two/three"):
        with pytest.raises(NotADirectoryError, match=f"{tmp_path / 'file'} is not a folder"):
            write(tmp_path / "file" / below, fill("new"))
    assert names(tmp_path) == ["file"]


def test_what_can_be_written_is_known_before_and_nothing_is_left_by_asking(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    (tmp_path / "folder.tif").mkdir()
    before = names(tmp_path)
    for path in (tmp_path / "new.tif", tmp_path / "file", tmp_path / "new" / "below" / "new.tif"):
        check_writable(path)
    monkeypatch.chdir(tmp_path)
    check_writable(Path("new/new.tif"))
    with pytest.raises(InputError, match=r"folder.tif is a folder; give the path of a file"):
        check_writable(tmp_path / "folder.tif")
    with pytest.raises(NotADirectoryError, match=f"{tmp_path / 'file'} is not a folder"):
        check_writable(tmp_path / "file" / "below" / "new.tif")
    assert names(tmp_path) == before and free_space(tmp_path / "new" / "new.tif") > 0

    def read_only(dir, prefix):
        raise OSError(errno.EROFS, "Read-only file system", str(dir / prefix))

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    with pytest.raises(OSError, match="Read-only") as error:
        check_writable(tmp_path / "new" / "new.tif")
    assert error.value.filename == str(tmp_path / "new" / "new.tif")


@pytest.mark.parametrize("mask", [0o077, 0o027, 0o002, 0o022])
def test_the_umask_says_who_may_read(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", lambda path: path.write_text("file"))
        replace_folder(tmp_path / "folder", lambda path: (path / "file").write_text("file"))
        fill_folder(tmp_path / "filled", lambda path: (path / "file").write_text("file"))
    finally:
        os.umask(before)
    for file in ("file", "folder/file", "filled/file"):
        assert (tmp_path / file).stat().st_mode & 0o777 == 0o666 & ~mask
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o777 & ~mask
