"""Recipes for containers that serve the bundle: any host, SageMaker, Lambda. None is built here."""

from __future__ import annotations

import shutil
from pathlib import Path

from bert_export import __version__
from bert_export.hand_over.consumer import Bundle, Consumer, Written
from bert_export.tasks import ALL_TASKS

__all__ = ["CONTAINER"]

_PORT = 8080
_HEALTH = f"import urllib.request as r; r.urlopen('http://127.0.0.1:{_PORT}/health', timeout=2)"

# Neither needs the network once it is built: engines look up no host, and no hub is asked.
_SERVICE = f"""\
FROM python:3.11-slim

# The version is in the argument: as your index has it, or the path of a wheel beside this file.
ARG BERT_EXPORT="bert-export[serve]=={__version__}"
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "${{BERT_EXPORT}}" \\
    && useradd --create-home --uid 10001 service
COPY bundle /opt/bundle
ENV ORT_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
USER 10001
EXPOSE {_PORT}
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \\
    CMD ["python", "-c", "{_HEALTH}"]
"""
_ANY = f"""\
ENTRYPOINT ["bert-export", "serve", "/opt/bundle", "--host", "0.0.0.0", "--port", "{_PORT}"]
"""
# SageMaker starts a container with the argument `serve`, which this takes and leaves.
_SAGEMAKER = f"""\
ENTRYPOINT ["sh", "-c", "exec bert-export serve /opt/bundle --host 0.0.0.0 --port {_PORT}"]
"""
_LAMBDA = f"""\
FROM public.ecr.aws/lambda/python:3.11

ARG BERT_EXPORT="bert-export=={__version__}"
# hadolint ignore=DL3013
RUN pip install --no-cache-dir "${{BERT_EXPORT}}"
COPY bundle /opt/bundle
COPY handler.py ${{LAMBDA_TASK_ROOT}}/
ENV ORT_DISABLE_TELEMETRY=1 HF_HUB_OFFLINE=1 HOME=/tmp
CMD ["handler.answer"]
"""
_HANDLER = Path(__file__).with_name("lambda_handler.py")


def _write(bundle: Bundle, folder: Path, opset: int | None) -> Written:
    del opset  # the bundle's own graph answers
    for name, text in (("service", _SERVICE + _ANY), ("sagemaker", _SERVICE + _SAGEMAKER)):
        _write_variant(bundle, folder / name, text)
    _write_variant(bundle, folder / "lambda", _LAMBDA)
    shutil.copyfile(_HANDLER, folder / "lambda" / "handler.py")
    size = sum(record.bytes for record in bundle.manifest.files.values())
    return Written(
        use=(
            f"docker build -t answers {folder.name}/service",
            f"docker run -p {_PORT}:{_PORT} answers",
            f"docker build -t answers {folder.name}/sagemaker",
            f"docker build -t answers {folder.name}/lambda",
        ),
        notes=(
            f"the bundle takes {size / 1e6:.0f} MB of an image, Python's packages some 190 MB more",
            "no image is built here",
        ),
    )


def _write_variant(bundle: Bundle, folder: Path, recipe: str) -> None:
    bundle.copy_to(folder / "bundle")
    (folder / "Dockerfile").write_text(recipe, encoding="utf-8")
    (folder / ".dockerignore").write_text("**\n!bundle\n!*.py\n!*.whl\n", encoding="utf-8")


CONTAINER = Consumer(
    name="container",
    tasks=ALL_TASKS,
    write=_write,
)
