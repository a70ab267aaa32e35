"""``bert-export cpp`` as a user types it; what is built is tested in tests/cpp."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from bert_export.cli import main
from bert_export.runtime import cpp_build

CMAKE = f"""#!{sys.executable}
import pathlib, sys
words = sys.argv[1:]
if "-S" in words:
    print("-- Configuring done")
elif "--build" in words:
    print("[ 50%] Building CXX object a.o")
    print("a.cpp:1:1: error: no such thing" if "fails" in pathlib.Path(__file__).parts[-2]
          else "[100%] Built target bert_export")
    sys.exit("fails" in pathlib.Path(__file__).parts[-2])
else:
    (pathlib.Path(words[-1]) / "lib").mkdir()
"""


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cpp", *arguments])


def tools(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Programs of a machine that has no others."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(CMAKE, encoding="utf-8")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CXX", raising=False)


def test_folders() -> None:
    assert (Path(invoke("--cmakedir").stdout.strip()) / "bert_export-config.cmake").is_file()
    assert (Path(invoke("--sourcedir").stdout.strip()) / "CMakeLists.txt").is_file()
    assert json.loads(invoke("--cmakedir", "--json").stdout) == {
        "cmakedir": str(cpp_build.cmake_folder())
    }


@pytest.mark.parametrize("options", [(), ("--cmakedir", "--native")])
def test_one_thing_at_a_time(options: tuple[str, ...]) -> None:
    result = invoke(*options)
    assert result.exit_code == 2
    assert "one of --cmakedir, --sourcedir, --build DIR and --native is needed" in result.stderr


@pytest.mark.parametrize(("there", "missing"), [((), "cmake"), (("cmake",), "c++")])
def test_without_tools_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], missing: str
) -> None:
    tools(tmp_path / "bin", monkeypatch, *there)
    result = invoke("--build", str(tmp_path / "new"))
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: program {missing} is not installed: expected CMake and a C++17")
    assert not (tmp_path / "new").exists()


def test_it_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(tmp_path / "bin", monkeypatch, "cmake", "c++")
    result = invoke("--build", str(tmp_path / "new"))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"built {tmp_path / 'new'}\n"
    assert (tmp_path / "new" / "lib").is_dir()


def test_what_the_compiler_says_stands_on_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools(tmp_path / "fails", monkeypatch, "cmake", "c++")
    there = tmp_path / "there"
    there.mkdir()
    (there / "file").touch()
    for prefix in (tmp_path / "new", there):
        result = invoke("--build", str(prefix))
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert line.startswith("error: step build of the C++ runtime fails: expected CMake 3.18 or")
        assert "got a.cpp:1:1: error: no such thing." in line
    assert not (tmp_path / "new").exists()
    assert list(there.iterdir()) == [there / "file"]


def test_steps_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools(tmp_path / "bin", monkeypatch, "cmake", "c++")
    heard: list[tuple[str, int]] = []
    cpp_build.build_library(tmp_path / "new", advance=lambda *step: heard.append(step))
    assert ("build", 50) in heard
    assert [step for step, percent in heard if percent == 0] == ["configure", "build", "install"]
