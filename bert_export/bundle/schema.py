"""What ``manifest.json`` says: one frozen struct per thing that a bundle records.

The manifest is plain JSON that C++ reads as easily as Python. Engines, their graphs and plans, and
what was proved of them each have a struct here; :mod:`bert_export.bundle.integrity` reads and
writes them.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bert_export.bundle.request import ExportRequest
from bert_export.errors import BundleError
from bert_export.tasks.interface import TextForm

__all__ = [
    "SCHEMA_VERSION",
    "AutoTargetRecord",
    "BuildRecord",
    "BuiltRecord",
    "CalibrationRecord",
    "CandidateRecord",
    "EngineRecord",
    "FileRecord",
    "GraphRecord",
    "LayerPlan",
    "Manifest",
    "MixedPrecisionRecord",
    "ModelRecord",
    "OverflowRecord",
    "ParityCase",
    "ParityRecord",
    "ParityTextRecord",
    "PassRecord",
    "QuantizationGroupRecord",
    "QuantizationPlan",
    "RefusalRecord",
    "SearchRecord",
    "TensorSpec",
    "TextCheckRecord",
    "TextGraphRecord",
    "TokenizerRecord",
]

SCHEMA_VERSION = 3


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the schema: immutable, keyword-only, unknown fields refused."""


class TensorSpec(Record, frozen=True, kw_only=True):
    """A graph input or output.

    Args:
        name: The ONNX name.
        dtype: numpy's name for it, such as ``int64``; ``string`` for texts.
        shape: One entry per axis: a size, or the name of a dynamic axis.
        below: Values are at least 0 and less than this, the rows of the table that they are looked
            up in; ``None`` where nothing bounds them. Engines differ in what they do beyond it.
    """

    name: str
    dtype: str
    shape: tuple[str | int, ...]
    below: int | None = None


class FileRecord(Record, frozen=True, kw_only=True):
    """Size in bytes and sha256 (hex) of a file of the bundle."""

    bytes: int
    sha256: str


class ModelRecord(Record, frozen=True, kw_only=True):
    """Where the weights came from, and the sizes that a reader may need.

    Args:
        source: Directory name, hub id or ``demo:<name>``, as given.
        architecture: The traced head's class.
        weights_sha256: sha256 over names, dtypes, shapes and bytes of the checkpoint's tensors.
        parameters: How many numbers the traced head holds.
        attribution: Whom the weights and their training data are owed to, where that is recorded.
    """

    source: str
    architecture: str
    weights_sha256: str
    parameters: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    vocab_size: int
    type_vocab_size: int
    max_position_embeddings: int
    attribution: str | None = None


class GraphRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The graph file, its opset and its interface.

    Args:
        longest: Tokens of a row at most, where that is another number than the model's
            ``max_position_embeddings``: a decoder has positions of its own.
        encoder: Of a decoder, the graph that runs once per text: its outputs are
            ``present.<layer>.encoder.*``, and this graph's inputs of them
            ``past_key_values.<layer>.encoder.*``.
    """

    file: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    longest: int | None = None
    encoder: GraphRecord | None = None

    @property
    def graphs(self) -> tuple[GraphRecord, ...]:
        """All graphs of an engine, in the order in which they run."""
        return (self,) if self.encoder is None else (self.encoder, self)


class TokenizerRecord(Record, frozen=True, kw_only=True):
    """What a service must know about the tokenizer beyond ``tokenizer.json``.

    Args:
        max_length: Tokens per row, special tokens included; never above the position table.
        do_lower_case: Whether the text is lower-cased before it is split.
        cls_token, sep_token, pad_token, mask_token, unk_token: The special tokens' texts; ids are
            looked up in ``tokenizer.json``.
        clean_up_tokenization_spaces: Whether decoding removes spaces before punctuation.
        truncation_side: The end at which a row that is too long is cut.
        token_types: Whether token types tell the two texts of a pair apart; where not, all are 0,
            whatever ``tokenizer.json`` says.
    """

    file: str
    max_length: int
    do_lower_case: bool
    cls_token: str = "[CLS]"
    sep_token: str = "[SEP]"
    pad_token: str = "[PAD]"
    mask_token: str = "[MASK]"
    unk_token: str = "[UNK]"
    clean_up_tokenization_spaces: bool = False
    truncation_side: Literal["right", "left"] = "right"
    token_types: bool = True


class LayerPlan(Record, frozen=True, kw_only=True):
    """How one linear layer computes.

    Args:
        layer: The checkpoint's module name, such as ``bert.encoder.layer.0.attention.self.query``.
        precision: ``int8`` or ``fp32``.
        activation_scale, activation_zero_point: Of the input, for static ``int8``.
        channel_shifted: Whether the middles of the input's channels moved into biases.
        smoothquant: Migration strength: how much of the outliers' size moved into the weights.
        smoothquant_folded: Whether the layer before took that over; else it is one ``Mul``.
        split_channels: Hidden units that were added in front because some were too large.
        gptq: Whether rows of the weight made up for the rounding of those before them.
        bias_corrected: Whether the bias took over the mean error.
        output_scale: Of the output, where queries meet keys in int8; symmetric.
        reason: Why the layer stayed in float, where it did.
    """

    layer: str
    precision: str
    activation_scale: float | None = None
    activation_zero_point: int | None = None
    channel_shifted: bool = False
    smoothquant: float | None = None
    smoothquant_folded: bool | None = None
    split_channels: int = 0
    gptq: bool = False
    bias_corrected: bool = False
    output_scale: float | None = None
    reason: str | None = None


class CalibrationRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Which inputs set the activation ranges.

    Args:
        source: Name of a built-in set, or a file.
        sha256: Of the file.
        examples: Records that set the ranges.
        rows: Rows that they were cut into.
        tokens: Of all rows.
        seed: Of the masks, where words were hidden.
        held_out: Records of the set that set no range, for engines to be verified on.
        unknown_share: Share of ``[UNK]`` among the texts' tokens; ``None`` in bundles of before it
            was counted.
        warnings: What makes the ranges doubtful, a sentence each.
    """

    source: str
    sha256: str
    examples: int
    rows: int
    tokens: int
    seed: int
    held_out: int = 0
    unknown_share: float | None = None
    warnings: tuple[str, ...] = ()


class QuantizationGroupRecord(Record, frozen=True, kw_only=True):
    """A group of layers that share one input, with what the accuracy-budget search measured of it.

    Args:
        layers: Names of their modules.
        sensitivity: Squared error of the graph's outputs when these layers alone are in INT8, as a
            share of the outputs' variance.
        cost: Share of the multiplications of all groups.
    """

    layers: tuple[str, ...]
    sensitivity: float
    cost: float


class MixedPrecisionRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One mixed-precision configuration that the search measured.

    Args:
        excluded: Indices of the groups that stay in float.
        score: The figure that counts, or the agreement with float.
        drop: How much less than float alone scores.
        float_share: Share of the multiplications of all groups that is in float.
        drop_error: Standard error of the drop by the choice of examples, see
            :mod:`bert_export.exporter.drop`; ``None`` in bundles of before it was measured.
    """

    excluded: tuple[int, ...]
    score: float
    drop: float
    float_share: float
    drop_error: float | None = None


class SearchRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How an accuracy budget was kept.

    Args:
        data: The file that was scored, as given.
        sha256: Of the file.
        examples: How many it holds.
        seed: Of whatever was drawn.
        metric: What was scored: the task's metric, or without labels the agreement with float.
        labelled: Which of the two it is.
        budget: The largest drop that was allowed, as a share: 0.005 is half a point.
        baseline: The figure in float.
        groups: In graph order.
        path: Every configuration that was measured, in order.
        chosen: Which of them the engine is, by its index.
        met: Whether it keeps the budget.
        warnings: What the data leaves open, a sentence each.
    """

    data: str
    sha256: str
    examples: int
    seed: int
    metric: str
    labelled: bool
    budget: float
    baseline: float
    groups: tuple[QuantizationGroupRecord, ...]
    path: tuple[MixedPrecisionRecord, ...]
    chosen: int
    met: bool
    warnings: tuple[str, ...] = ()

    @property
    def excluded_layers(self) -> tuple[str, ...]:
        """Names of the layers that the search left in float."""
        excluded = self.path[self.chosen].excluded
        return tuple(layer for index in excluded for layer in self.groups[index].layers)


class QuantizationPlan(Record, frozen=True, kw_only=True):
    """Every choice behind an INT8 graph, layer by layer.

    Args:
        mode: ``static``: ranges were set by calibration. ``dynamic``: each call sets its own.
        batch_invariant: Whether a text's answer is the same whatever it is batched with.
        processor: The kind that types and bits were chosen for; ``None`` where a GPU computes.
        weight_type: ``int8``, symmetric with one scale per output channel.
        weight_bits: 8, or 7 where products of full 8-bit numbers would saturate.
        activation_type: ``uint8`` or ``int8``, one scale and zero point per tensor.
        observer: How ranges were chosen; ``None`` where none were.
        layers: One entry per linear layer, and one for the word embeddings where they are in int8
            or were to be.
        calibration: What set the ranges; ``None`` where none were set.
        search: How an accuracy budget was kept, where one was given.
    """

    mode: str
    batch_invariant: bool = True
    processor: str | None
    weight_type: str
    weight_bits: int
    activation_type: str
    observer: str | None
    layers: tuple[LayerPlan, ...]
    calibration: CalibrationRecord | None
    search: SearchRecord | None = None


class RefusalRecord(Record, frozen=True, kw_only=True):
    """A site that a pass left as it was: why, and the node that was in the way."""

    reason: str
    node: str


class PassRecord(Record, frozen=True, kw_only=True):
    """What one graph pass did.

    Args:
        name: Verb and object, as its file is called.
        rewritten: Sites.
        refusals: Sites that were left, in graph order.
        operators_before: How often each operator stood in the graph.
        operators_after: The same afterwards.
    """

    name: str
    rewritten: int
    refusals: tuple[RefusalRecord, ...]
    operators_before: dict[str, int]
    operators_after: dict[str, int]


class ParityCase(Record, frozen=True, kw_only=True):
    """Largest absolute difference from the PyTorch head on one kind of input."""

    name: str
    rows: int
    max_abs_difference: float


class ParityTextRecord(Record, frozen=True, kw_only=True):
    """How an engine answers text that set no range.

    Args:
        source: Name of the set.
        held_out: Whether it is the held-out part of the set that calibrated; else it is built in.
        rows: That were compared.
        unknown_share: Share of ``[UNK]`` among the texts' tokens.
        agreement: As in :class:`ParityRecord`, on these rows.
        counted: Whether the check rests on it: text that the vocabulary does not know proves
            nothing.
    """

    source: str
    held_out: bool
    rows: int
    unknown_share: float
    agreement: float
    counted: bool


class ParityRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The parity check's figures.

    Args:
        reference: What was compared with, such as ``pytorch fp32``.
        tolerance: Bound on ``max_abs_difference``; ``None`` where agreement alone counts.
        agreement: Share (or mean cosine) of equal answers, in [0, 1]: on the held-out part of the
            user's own text where there is enough of it, else on all text that counts.
        min_agreement: The bound that ``agreement`` met.
        agreement_kind: See :class:`bert_export.tasks.Task`.
        cases: Largest differences by kind of input.
        texts: The sets of real text, none of which set a range.
        labels_never_given: Labels that the head itself gives to none of these rows, so that nothing
            was compared for them.
        warnings: What makes the agreement say less than it seems to, a sentence each.
    """

    reference: str
    max_abs_difference: float
    tolerance: float | None
    agreement: float
    min_agreement: float
    agreement_kind: str
    cases: tuple[ParityCase, ...]
    texts: tuple[ParityTextRecord, ...] = ()
    labels_never_given: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class OverflowRecord(Record, frozen=True, kw_only=True):
    """A node whose result FP16 does not hold, so that it stays FP32.

    Args:
        node: Its name.
        operator: What it computes.
        peak: The largest magnitude that was seen: of its result, or of its input for a GELU.
        limit: What that may be in FP16.
    """

    node: str
    operator: str
    peak: float
    limit: float


class BuiltRecord(Record, frozen=True, kw_only=True):
    """An engine that a target's own builder made of the bundle's graph.

    Args:
        file: Of the bundle.
        builder: Module and version; the engine runs with no other.
        compute_capabilities: That it was built for; empty for the GPU of the machine that built it.
        profiles: By dynamic axis the least, usual and largest size, a mapping per profile.
        bytes: Of the file.
        seconds: Wall time of the build, when it was made.
        attention_layers: Layers whose attention the builder recognized as one pattern.
        device_memory: Bytes of activations that it needs at its largest shapes.
        warnings: Lines of the builder's log.
    """

    file: str
    builder: str
    compute_capabilities: tuple[str, ...]
    profiles: tuple[dict[str, tuple[int, int, int]], ...]
    bytes: int
    seconds: float
    attention_layers: int
    device_memory: int | None
    warnings: tuple[str, ...]


class BuildRecord(Record, frozen=True, kw_only=True, omit_defaults=True):
    """What a target's own builder is told, and the engine that it made.

    Args:
        float32_nodes: Of an FP16 graph.
        engine: ``None`` where none was built.
    """

    float32_nodes: tuple[OverflowRecord, ...] = ()
    engine: BuiltRecord | None = None


class TextCheckRecord(Record, frozen=True, kw_only=True):
    """How a graph's ids were compared with the tokenizer's; not one differs.

    Args:
        library: What was compared with, such as ``tokenizers 0.22.2``.
        max_lengths: Tokens per row that were tried: real texts with each, others with one of them.
        code_points: Characters, each alone, between letters and after an accent.
        texts: Real ones.
        hostile: Texts that were put together at random.
        pairs: Of texts, in all relations of their lengths.
        seed: Of what was put together.
        answered: Rows whose outputs are, bit for bit, those of the graph that takes ids.
    """

    library: str
    max_lengths: tuple[int, ...]
    code_points: int
    texts: int
    hostile: int
    pairs: int
    seed: int
    answered: int


class TextGraphRecord(Record, frozen=True, kw_only=True):
    """A graph that takes texts, makes their ids itself and answers as the engine's own graph does.

    Args:
        form: Of the texts.
        graph: The file and its interface.
        check: What was compared before it was written.
    """

    form: TextForm
    graph: GraphRecord
    check: TextCheckRecord


class EngineRecord(Record, frozen=True, kw_only=True):
    """The bundle's graph for one target, how it came about and what was proved of it.

    Args:
        target: A key of :data:`bert_export.targets.TARGETS`.
        precision: Such as ``int8``.
        passes: What each graph pass did, in order.
        quantization: Every choice behind an INT8 graph.
        parity: The parity check's figures.
        build: Of targets with a builder of their own.
        text: The graph that takes texts, where there is one.
    """

    target: str
    precision: str
    graph: GraphRecord
    passes: tuple[PassRecord, ...] = ()
    quantization: QuantizationPlan | None = None
    parity: ParityRecord | None = None
    build: BuildRecord = BuildRecord()
    text: TextGraphRecord | None = None

    @property
    def graph_files(self) -> tuple[str, ...]:
        """Its graphs, whose weights lie in the bundle's file of them."""
        own = tuple(graph.file for graph in self.graph.graphs)
        return own if self.text is None else (*own, self.text.graph.file)

    @property
    def files(self) -> tuple[str, ...]:
        """The entry's own files: its graphs, and the engine that was built."""
        built = self.build.engine
        return self.graph_files if built is None else (*self.graph_files, built.file)


class CandidateRecord(Record, frozen=True, kw_only=True):
    """A target that was tried for its speed.

    Args:
        target: A key of :data:`bert_export.targets.TARGETS`.
        precision: Such as ``int8``; ``auto`` where that was to be found and the target is not
            installed.
        milliseconds: Median of a run, by shape such as ``8x128``.
        refusal: Why it, or a shape of it, was left out; ``None`` where nothing was.
    """

    target: str
    precision: str
    milliseconds: dict[str, float] = {}
    refusal: str | None = None


class AutoTargetRecord(Record, frozen=True, kw_only=True):
    """How the default target was found.

    Args:
        chosen: The fastest, every shape weighing the same; where the precision was found too, its
            precision is that of the bundle's engine.
        shapes: Rows x tokens that counted.
        threads: Of every engine.
        processors: Of the machine that measured.
        candidates: What was tried.
    """

    chosen: str
    shapes: tuple[str, ...]
    threads: int
    processors: int
    candidates: tuple[CandidateRecord, ...]


class Manifest(Record, frozen=True, kw_only=True):
    """``manifest.json``.

    Args:
        labels: Label names in id order; empty where the task has none.
        postprocessing: The task's parameters with every default, a struct of its file in
            :mod:`bert_export.tasks` as JSON.
        default_target: The target that is served when none is asked for.
        engines: One entry per target, in the order in which they were asked for.
        versions: Versions of the tools that wrote the bundle.
        files: Every other file of the bundle by name.
        auto_target: How the default target was found, where it was found by measurement.
        assumptions: What the checkpoint does not say and the export took for granted, a sentence
            each.
        request: What the export was asked for, with what it left to the checkpoint and the machine
            filled in; ``None`` in bundles of before it was kept.
        stages: Seconds of each stage of the export, in order, when the bundle was made; empty in
            bundles of before they were kept.
    """

    schema_version: int
    task: str
    labels: tuple[str, ...]
    model: ModelRecord
    tokenizer: TokenizerRecord
    postprocessing: dict[str, Any]
    default_target: str
    engines: tuple[EngineRecord, ...]
    versions: dict[str, str]
    files: dict[str, FileRecord]
    auto_target: AutoTargetRecord | None = None
    assumptions: tuple[str, ...] = ()
    request: ExportRequest | None = None
    stages: dict[str, float] = {}

    def engine(self, target: str | None = None) -> EngineRecord:
        """The entry of a target; of the default target when ``None``.

        Raises:
            BundleError: The bundle does not serve that target.
        """
        wanted = self.default_target if target is None else target
        for engine in self.engines:
            if engine.target == wanted:
                return engine
        raise BundleError(
            f"bundle does not serve the target {wanted}",
            expected=" or ".join(engine.target for engine in self.engines),
            got=wanted,
            fix=f"Export it with --target {wanted}",
        )
