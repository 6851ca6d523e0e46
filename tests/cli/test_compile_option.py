"""`--compile` of `r2id sample`."""

import torch._inductor.config


def test_without_a_compiler_a_sentence_says_so(command, tmp_path):
    with torch._inductor.config.patch({"cpp.cxx": ("no-such-compiler",)}):
        status, _, error = command(
            "sample", "--labels", "3", "--compile", "--device", "cpu", "--output", tmp_path / "out.png"
        )
    assert status == 2 and "no C++ compiler such as g++" in error and len(error.splitlines()) == 1
    assert not (tmp_path / "out.png").exists()
