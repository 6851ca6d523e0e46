"""`--compile` of the commands that sample."""

import pytest
import torch._inductor.config
from PIL import Image


@pytest.mark.parametrize("name", ["sample", "outpaint"])
def test_without_a_compiler_a_sentence_says_so(command, tmp_path, name):
    Image.new("L", (32, 32)).save(tmp_path / "given.png")
    given = {"sample": ("--labels", "3"), "outpaint": (tmp_path / "given.png", "--left", "8")}[name]
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        status, _, error = command(name, *given, "--compile", "--device", "cpu", "--output", tmp_path / "out.png")
    assert status == 2 and "no C++ compiler such as g++" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()
