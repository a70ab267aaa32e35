"""A report with every kind of variant, made up, for tests of what is drawn from it."""

from __future__ import annotations

from bert_export.bundle import FileRecord
from bert_export.measuring.timing import Conditions, Measured, Timing, speed_up, timing_of
from bert_export.measuring.workloads import MANY_TEXTS, ONE_TEXT
from bert_export.report.schema import (
    DataRecord,
    LayerRecord,
    ModelRecord,
    Report,
    Score,
    Variant,
)

__all__ = ["sample_report"]

_SHAPES = ("1x16", "1x128", "8x128")
_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "intermediate.dense",
    "output.dense",
)
# Target, precision, accuracy, agreement, milliseconds by shape, bytes.
_VARIANTS = (
    ("onnxruntime", "fp32", 0.9829, 1.0, (1.9, 9.2, 68.0), 91_400_000),
    ("onnxruntime", "int8", 0.9814, 0.9943, (0.59, 3.5, 25.0), 59_200_000),
    ("openvino", "fp32", 0.9829, 1.0, (1.6, 8.4, 55.0), 91_400_000),
    ("openvino", "bf16", 0.9829, 0.9986, (1.0, 4.9, 31.0), 60_100_000),
    ("openvino", "int8", 0.9643, 0.9757, (0.55, 3.05, 20.8), 59_300_000),
)
_FAILURE = "openvino cannot open </script><b>this</b> graph: expected an operator, got \"x\" & 'y'."


def _timing(seconds: float, rows: int) -> Timing:
    """Three lifetimes, which differ by their places in memory, of turns that drift alike."""
    lifetimes = [
        [
            [seconds * place * (1 + 0.004 * ((turn * 7 + call * 3) % 5 - 2)) for call in range(10)]
            for turn in range(6)
        ]
        for place in (1.0, 0.99, 1.01 + seconds)
    ]
    return timing_of(rows=rows, lifetimes=lifetimes)


def _measured(milliseconds: tuple[float, ...], size: int) -> Measured:
    timings = {
        shape: _timing(value / 1000, int(shape.partition("x")[0]))
        for shape, value in zip(_SHAPES, milliseconds, strict=True)
    }
    timings[ONE_TEXT] = _timing(milliseconds[0] * 1.2 / 1000, 1)
    timings[MANY_TEXTS] = _timing(milliseconds[2] * 2.1 / 1000, 64)
    return Measured(
        timings=timings,
        first_answers=[0.30, 0.31, 0.29],
        first_answer_bytes=size + 40_000_000,
        peak_bytes=size + 120_000_000,
    )


def _layers(kept: frozenset[str]) -> tuple[LayerRecord, ...]:
    names = [f"bert.encoder.layer.{index}.{part}" for index in range(6) for part in _PARTS]
    return tuple(
        LayerRecord(
            layer=name,
            precision="fp32" if name in kept else "int8",
            reason="the search kept it in float" if name in kept else None,
        )
        for name in [*names, "bert.pooler.dense", "classifier"]
    )


def sample_report(*, labelled: bool = True) -> Report:
    """The report; its last variant failed, with a reason that HTML has to escape."""
    variants = []
    for target, precision, accuracy, agreement, milliseconds, size in _VARIANTS:
        kept = frozenset({"bert.encoder.layer.3.output.dense", "classifier"})
        variants.append(
            Variant(
                name=f"{target} {precision}",
                target=target,
                precision=precision,
                digest="0" * 12,
                bundle=f"variants/{target}-{precision}",
                export_seconds=12.5,
                export_bytes=900_000_000,
                bytes=size,
                files={"weights.data": FileRecord(bytes=size, sha256="ab" * 32)},
                layers=_layers(kept) if precision == "int8" else (),
                score=Score(
                    metric="accuracy",
                    scores={"accuracy": accuracy, "macro F1": accuracy} if labelled else {},
                    agreement=agreement,
                    agreement_kind="share of equal labels",
                    seconds=1.5,
                    output_error=0.0 if precision == "fp32" else 0.0123,
                    gain_error=0.0021 if labelled else None,
                ),
                measured=_measured(milliseconds, size),
            )
        )
    variants.append(
        Variant(
            name="openvino fp16",
            target="openvino",
            precision="fp16",
            digest="0" * 12,
            bundle="variants/openvino-fp16",
            failure=_FAILURE,
        )
    )
    first, *others = (variant.measured for variant in variants)
    for measured in others:
        for label, timing in measured.timings.items():
            ratio = speed_up(timing, first.timings[label])
            assert ratio is not None
            measured.speed_ups[label] = ratio
    return Report(
        command="bert-export report --task text-classification --data snips-test.jsonl -o report",
        created="2026-01-02T03:04:05+00:00",
        complete=True,
        task="text-classification",
        metric="accuracy",
        reference="onnxruntime fp32",
        main_shape="1x128",
        max_drop=0.01,
        model=ModelRecord(
            source="demo:snips",
            architecture="BertForSequenceClassification",
            weights_sha256="cd" * 32,
            parameters=22_715_911,
            attribution="whoever made it",
        ),
        data=DataRecord(name="snips-test.jsonl", sha256="ef" * 32, records=700, built_in=False),
        machine={
            "cpu": "AMD EPYC",
            "processor": "AVX512-VNNI",
            "cores": 2,
            "instructions": ["avx2", "avx512_vnni"],
            "memory_gib": 15.6,
            "load": 0.2,
            "system": "Linux",
            "python": "3.11.2",
            "date": "2026-01-02T03:04:05+00:00",
        },
        versions={"bert-export": "0.1.0", "onnxruntime": "1.32.0"},
        conditions=Conditions(
            shapes=_SHAPES,
            texts=64,
            threads=2,
            cores=(0, 1),
            seconds=4.0,
            tolerance=0.02,
            lifetimes=3,
            cold_starts=3,
        ),
        variants=variants,
    )
