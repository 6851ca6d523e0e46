"""Two runs at once: those that belong together share a folder, others are refused, and the dead hold nothing."""

import errno
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from r2id.errors import InputError
from r2id.files import locks
from r2id.files.locks import alone, together

HOLD = """
import sys
from pathlib import Path
from r2id.files.locks import alone
with alone(Path(sys.argv[1]), "taken"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_process(path: Path):
    """Another process that holds the lock file alone."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"held\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def nothing() -> None:
    pass


def test_another_process_is_refused_until_the_first_has_ended(tmp_path):
    path = tmp_path / "lock"
    with other_process(path) as process:
        for _ in range(2):
            with pytest.raises(InputError, match="^taken$"), alone(path, "taken"):
                pass
        process.communicate(b"")
        with alone(path, "taken") as held:
            assert held
    assert not path.exists()


def test_a_killed_process_holds_nothing(tmp_path):
    path = tmp_path / "lock"
    with other_process(path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert path.exists()
        with alone(path, "taken") as held:
            assert held
    assert not path.exists()


def test_the_same_settings_share_and_the_last_removes_the_lock(tmp_path):
    path, began = tmp_path / "new" / "lock", []
    with together(path, {"seed": 1, "guidance": float("nan")}, lambda: began.append(1)):
        with together(path, {"seed": 1, "guidance": float("nan")}, lambda: began.append(2)):
            assert path.exists()
        assert path.exists()
        with together(path, {"seed": 1, "guidance": float("nan")}, lambda: began.append(3)):
            pass
    assert began == [1] and not path.parent.exists()
    with together(path, {"seed": 2}, lambda: began.append(4)):
        assert began == [1, 4]


def test_other_settings_are_refused_and_the_folder_stays_shared(tmp_path):
    path = tmp_path / "lock"
    with together(path, {"seed": 1}, nothing):
        with (
            pytest.raises(InputError, match="seed is 2; another process is writing to .* with 1; wait until it ends"),
            together(path, {"seed": 2}, nothing),
        ):
            pass
        with together(path, {"seed": 1}, nothing):
            pass
    with together(path, {"seed": 2}, nothing):
        pass


def test_a_folder_that_was_there_stays(tmp_path):
    with suppress(InputError), alone(tmp_path / "lock", "taken"):
        raise InputError("something else")
    assert tmp_path.exists() and not list(tmp_path.iterdir())


def test_a_file_that_its_last_holder_removed_meanwhile_is_not_held(tmp_path, monkeypatch):
    path, flock, times = tmp_path / "lock", locks.fcntl.flock, []

    def removed_before(file, kind):
        times.append(kind)
        if len(times) == 1:
            path.unlink()
        return flock(file, kind)

    monkeypatch.setattr(locks.fcntl, "flock", removed_before)
    with alone(path, "taken"):
        assert path.exists()
        with pytest.raises(InputError, match="taken"), alone(path, "taken"):
            pass


@pytest.mark.parametrize("reason", ["no flock", "not on this file system"])
def test_without_locks_nobody_is_refused(tmp_path, monkeypatch, reason):
    def refuse(file, kind):
        raise OSError(38, "Function not implemented")

    if reason == "no flock":
        monkeypatch.setattr(locks, "fcntl", None)
    else:
        monkeypatch.setattr(locks.fcntl, "flock", refuse)
    began = []
    for settings in ({"seed": 1}, {"seed": 2}):
        with alone(tmp_path / "lock", "taken") as held, alone(tmp_path / "lock", "taken"):
            assert not held
        with together(tmp_path / "other", settings, lambda: began.append(1)):
            pass
    assert not began and not list(tmp_path.iterdir())


def fail_to_open(monkeypatch, times: int, before=nothing) -> list[int]:
    """Let files not be found so many times; returns a list of the attempts."""
    open_file, attempts = os.open, []

    def opened(path, *arguments):
        attempts.append(path)
        if len(attempts) <= times:
            before()
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
        return open_file(path, *arguments)

    monkeypatch.setattr(locks.os, "open", opened)
    return attempts


def test_a_folder_in_which_no_file_can_be_made_is_an_error(tmp_path, monkeypatch):
    fail_to_open(monkeypatch, 1000)
    with pytest.raises(FileNotFoundError), alone(tmp_path / "lock", "taken"):
        pass


@pytest.mark.parametrize(("times", "works"), [(3, True), (1000, False)])
def test_a_folder_that_vanishes_meanwhile_is_made_again_some_times(tmp_path, monkeypatch, times, works):
    path = tmp_path / "new" / "lock"
    attempts = fail_to_open(monkeypatch, times, path.parent.rmdir)
    if works:
        with alone(path, "taken") as held:
            assert held
        assert len(attempts) == times + 1 and not path.parent.exists()
    else:
        with pytest.raises(FileNotFoundError), alone(path, "taken"):
            pass
        assert len(attempts) == locks.ATTEMPTS + 1


@pytest.mark.parametrize("below", ["", "one", "one/other"])
def test_a_file_where_a_folder_should_be_is_named(tmp_path, below):
    (tmp_path / "file").touch()
    with (
        pytest.raises(NotADirectoryError, match=f"{tmp_path / 'file'} is not a folder"),
        alone(tmp_path / "file" / below / "lock", "taken"),
    ):
        pass
