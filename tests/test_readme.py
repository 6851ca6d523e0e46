"""The README's examples run as printed."""

import re
import shlex
import sys
from pathlib import Path

from r2id import cli

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_the_python_examples_run_one_after_the_other(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert {path.name for path in tmp_path.iterdir()} == {"three-64x64.png", "seven.png"}
    assert names["corner"].shape == (1, 1, 256, 256)
    assert names["large"][0].size == (512, 512)
    assert names["wide"].shape == (1, 1, 90, 160)


def test_the_command_line_examples_run_one_after_the_other(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    (commands,) = (block for block in blocks("sh") if "r2id info" in block)
    for line in commands.strip().splitlines():
        monkeypatch.setattr(sys, "argv", shlex.split(line, comments=True))
        cli.main()
    assert len(list((tmp_path / "out" / "digits" / "27x18").glob("*.png"))) == 21
    assert (tmp_path / "out" / "zoom.png").is_file()
    assert "R2IR" in capsys.readouterr().out
