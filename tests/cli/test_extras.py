from __future__ import annotations

import pytest
from click.testing import CliRunner

from bert_export.cli import main
from bert_export.cli.extras import export_extra
from bert_export.errors import MissingExtraError


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with (
        pytest.raises(
            MissingExtraError, match=r"export \(no_such_package\) .*'bert-export\[export"
        ),
        export_extra("export"),
    ):
        import no_such_package.part  # noqa: F401


def test_a_missing_extra_says_so_itself() -> None:
    with pytest.raises(MissingExtraError, match=r"bert-export\[openvino\]"), export_extra("export"):
        raise MissingExtraError("target openvino", extra="openvino")


def test_a_defect_of_our_own_is_no_missing_package() -> None:
    with (
        pytest.raises(ImportError, match="cannot import name 'nothing'") as caught,
        export_extra("x"),
    ):
        from bert_export.bundle import nothing  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


def test_what_is_typed_right_and_not_installed_is_no_misuse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing() -> None:
        raise MissingExtraError("target x", extra="x")

    monkeypatch.setattr("bert_export.targets.onnxruntime.check_installed", missing)
    done = CliRunner().invoke(main, ["--task", "fill-mask", "--target", "onnxruntime"])
    assert done.exit_code == 1
    assert done.stderr.startswith("error: target x needs an optional dependency")
