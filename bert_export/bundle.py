"""The bundle: a folder that answers without PyTorch, and the manifest that describes it.

A bundle holds ``manifest.json`` (this schema, plain JSON that C++ reads as easily), one
``<target>.onnx`` for each engine that it serves, ``weights.data`` in which all of them find their
weights, each stored once, and ``tokenizer.json``. Every file but the manifest is listed there with
its size and sha256.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from bert_export.errors import BundleError

__all__ = [
    "MANIFEST",
    "SCHEMA_VERSION",
    "WEIGHTS_FILE",
    "BuildRecord",
    "BuiltRecord",
    "CalibrationRecord",
    "CandidateRecord",
    "ChoiceRecord",
    "EngineRecord",
    "FileRecord",
    "GraphRecord",
    "LayerPlan",
    "Manifest",
    "MixtureRecord",
    "ModelRecord",
    "OverflowRecord",
    "ParityCase",
    "ParityRecord",
    "PassRecord",
    "PlaceRecord",
    "QuantizationPlan",
    "RefusalRecord",
    "SearchRecord",
    "TensorSpec",
    "TokenizerRecord",
    "check_replaceable",
    "hash_file",
    "read_manifest",
    "replace_folder",
    "verify_files",
    "write_manifest",
]

MANIFEST = "manifest.json"
WEIGHTS_FILE = "weights.data"
SCHEMA_VERSION = 2
_CHUNK = 1 << 20


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the schema: immutable, keyword-only, unknown fields refused."""


class TensorSpec(Record, frozen=True, kw_only=True):
    """A graph input or output.

    Args:
        name: The ONNX name.
        dtype: numpy's name for it, such as ``int64``.
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


class GraphRecord(Record, frozen=True, kw_only=True):
    """The graph file, its opset and its interface."""

    file: str
    opset: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


class TokenizerRecord(Record, frozen=True, kw_only=True):
    """What a service must know about the tokenizer beyond ``tokenizer.json``.

    Args:
        max_length: Tokens per row, special tokens included; never above the position table.
        do_lower_case: Whether the text is lower-cased before it is split.
        cls_token, sep_token, pad_token, mask_token, unk_token: The special tokens' texts; ids are
            looked up in ``tokenizer.json``.
        clean_up_tokenization_spaces: Whether decoding removes spaces before punctuation.
        truncation_side: The end at which a row that is too long is cut.
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


class LayerPlan(Record, frozen=True, kw_only=True):
    """How one linear layer computes.

    Args:
        layer: The checkpoint's module name, such as ``bert.encoder.layer.0.attention.self.query``.
        precision: ``int8`` or ``fp32``.
        activation_scale, activation_zero_point: Of the input, for static ``int8``.
        centred: Whether the middles of the input's channels moved into biases.
        smoothing: Strength with which the input's outliers moved into the weights, where they did.
        smoothing_folded: Whether the layer before took that over; else it is one ``Mul``.
        split_units: Hidden units that were added in front because some were too large.
        gptq: Whether rows of the weight made up for the rounding of those before them.
        bias_corrected: Whether the bias took over the mean error.
        output_scale: Of the output, where queries meet keys in int8; symmetric.
        reason: Why the layer stayed in float, where it did.
    """

    layer: str
    precision: str
    activation_scale: float | None = None
    activation_zero_point: int | None = None
    centred: bool = False
    smoothing: float | None = None
    smoothing_folded: bool | None = None
    split_units: int = 0
    gptq: bool = False
    bias_corrected: bool = False
    output_scale: float | None = None
    reason: str | None = None


class CalibrationRecord(Record, frozen=True, kw_only=True):
    """Which inputs set the activation ranges."""

    source: str
    sha256: str
    examples: int
    rows: int
    tokens: int
    seed: int


class PlaceRecord(Record, frozen=True, kw_only=True):
    """Layers that read one activation, as the search for the ones that INT8 hurts saw them.

    Args:
        layers: Names of their modules.
        disturbance: Squared error of the graph's outputs when these layers alone are in INT8, as a
            share of the outputs' variance.
        cost: Share of the multiplications of all places.
    """

    layers: tuple[str, ...]
    disturbance: float
    cost: float


class MixtureRecord(Record, frozen=True, kw_only=True):
    """One mixture of INT8 and float that the search measured.

    Args:
        floats: Indices of the places in float.
        score: The figure that counts, or the agreement with float.
        drop: How much less than float alone scores.
        float_share: Share of the multiplications of all places that is in float.
    """

    floats: tuple[int, ...]
    score: float
    drop: float
    float_share: float


class SearchRecord(Record, frozen=True, kw_only=True):
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
        places: In graph order.
        path: Every mixture that was measured, in order.
        chosen: Which of them the engine is, by its index.
        met: Whether it keeps the budget.
    """

    data: str
    sha256: str
    examples: int
    seed: int
    metric: str
    labelled: bool
    budget: float
    baseline: float
    places: tuple[PlaceRecord, ...]
    path: tuple[MixtureRecord, ...]
    chosen: int
    met: bool

    @property
    def float_layers(self) -> tuple[str, ...]:
        """Names of the layers that the search left in float."""
        floats = self.path[self.chosen].floats
        return tuple(layer for index in floats for layer in self.places[index].layers)


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


class ParityRecord(Record, frozen=True, kw_only=True):
    """The verification gate's figures.

    Args:
        reference: What was compared with, such as ``pytorch fp32``.
        tolerance: Bound on ``max_abs_difference``; ``None`` where agreement is the gate.
        agreement: Share (or mean cosine) of equal answers, in [0, 1].
        min_agreement: The bound that ``agreement`` met.
        agreement_kind: See :class:`bert_export.tasks.Task`.
    """

    reference: str
    max_abs_difference: float
    tolerance: float | None
    agreement: float
    min_agreement: float
    agreement_kind: str
    cases: tuple[ParityCase, ...]


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
        attention_layers: Layers whose attention the builder recognised as one pattern.
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


class EngineRecord(Record, frozen=True, kw_only=True):
    """The bundle's graph for one target, how it came about and what was proved of it.

    Args:
        target: A key of :data:`bert_export.targets.TARGETS`.
        precision: Such as ``int8``.
        passes: What each graph pass did, in order.
        quantization: Every choice behind an INT8 graph.
        parity: The verification gate's figures.
        build: Of targets with a builder of their own.
    """

    target: str
    precision: str
    graph: GraphRecord
    passes: tuple[PassRecord, ...] = ()
    quantization: QuantizationPlan | None = None
    parity: ParityRecord | None = None
    build: BuildRecord = BuildRecord()


class CandidateRecord(Record, frozen=True, kw_only=True):
    """A target that was tried for its speed.

    Args:
        target: A key of :data:`bert_export.targets.TARGETS`.
        precision: Such as ``int8``.
        milliseconds: Median of a run, by shape such as ``8x128``.
        refusal: Why it, or a shape of it, was left out; ``None`` where nothing was.
    """

    target: str
    precision: str
    milliseconds: dict[str, float] = {}
    refusal: str | None = None


class ChoiceRecord(Record, frozen=True, kw_only=True):
    """How the default target was found.

    Args:
        chosen: The fastest, every shape weighing the same.
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
        postprocessing: The task's own parameters, read by its pipeline.
        default_target: The target that is served when none is asked for.
        engines: One entry per target, in the order in which they were asked for.
        versions: Versions of the tools that wrote the bundle.
        files: Every other file of the bundle by name.
        choice: How the default target was found, where it was found by measurement.
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
    choice: ChoiceRecord | None = None

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


class _Version(msgspec.Struct):
    schema_version: int


class _Listing(_Version):
    task: str
    files: dict[str, Any]


# What bytes that are no JSON of the schema raise; deep nesting exhausts the parser's stack.
_MALFORMED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def hash_file(path: Path) -> FileRecord:
    """Size and sha256 of a file, read in chunks."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` into a folder: two-space indents, one final newline."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    (folder / MANIFEST).write_bytes(text + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read and check ``manifest.json`` (the files' hashes are :func:`verify_files`'s work).

    Raises:
        BundleError: There is no manifest, it is not JSON of this schema and version, or it names a
            file outside the folder, a default target that it does not serve, rows longer than the
            model takes, or more or fewer labels than a graph scores.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise BundleError(
            f"bundle {folder} has no {MANIFEST}",
            expected="a folder written by bert-export",
            got="a folder without it" if folder.is_dir() else "no such folder",
        )
    try:
        text = path.read_bytes()
    except OSError as error:
        raise _unreadable(folder, MANIFEST, error) from error
    try:
        version = msgspec.json.decode(text, type=_Version).schema_version
    except _MALFORMED as error:
        raise BundleError(
            f"bundle {folder} has a malformed {MANIFEST}",
            expected="JSON with a schema_version",
            got=str(error),
            fix="Export the bundle again",
        ) from error
    if version != SCHEMA_VERSION:
        raise BundleError(
            f"bundle {folder} has another schema version",
            expected=SCHEMA_VERSION,
            got=version,
            fix="Upgrade bert-export" if version > SCHEMA_VERSION else "Export the bundle again",
        )
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except _MALFORMED as error:
        raise BundleError(
            f"bundle {folder} has a malformed {MANIFEST}",
            expected=f"schema version {SCHEMA_VERSION}",
            got=str(error),
            fix="Export the bundle again",
        ) from error
    for name in (*_named_files(manifest), *manifest.files):
        if name in ("", ".", "..") or Path(name).name != name:
            raise BundleError(
                f"bundle {folder} names a file outside its folder",
                expected="a plain name",
                got=repr(name),
            )
    manifest.engine()
    _check_sizes(folder, manifest)
    return manifest


def _check_sizes(folder: Path, manifest: Manifest) -> None:
    """Rows and labels are those of the model, or answers would be wrong far from here."""
    longest = manifest.model.max_position_embeddings
    if not 2 <= manifest.tokenizer.max_length <= longest:
        raise BundleError(
            f"bundle {folder} has rows of a length that its model does not take",
            expected=f"a max_length of 2 to {longest}",
            got=manifest.tokenizer.max_length,
            fix="Export the bundle again",
        )
    for engine in manifest.engines:
        for output in engine.graph.outputs:
            scored = output.shape[-1] if output.name == "logits" else None
            if manifest.labels and isinstance(scored, int) and scored != len(manifest.labels):
                raise BundleError(
                    f"bundle {folder} has other labels than its graph for {engine.target}",
                    expected=f"{scored} labels",
                    got=len(manifest.labels),
                    fix="Export the bundle again",
                )


def _named_files(manifest: Manifest) -> Iterator[str]:
    """Files that an entry of the manifest reads by name."""
    yield manifest.tokenizer.file
    for engine in manifest.engines:
        yield engine.graph.file
        if engine.build.engine is not None:
            yield engine.build.engine.file


def verify_files(folder: Path, manifest: Manifest) -> None:
    """Compare every file of the bundle with its recorded size and sha256.

    Raises:
        BundleError: A file is missing, truncated or altered, or a graph or the tokenizer is not
            among the files.
    """
    for name in _named_files(manifest):
        if name not in manifest.files:
            raise BundleError(
                f"bundle {folder} does not list the file {name}",
                expected="its size and sha256",
                got="none",
                fix="Export the bundle again",
            )
    for name, record in manifest.files.items():
        try:
            found = hash_file(folder / name)
        except FileNotFoundError:
            raise BundleError(
                f"bundle {folder} lacks the file {name}", fix="Export or copy the bundle again"
            ) from None
        except (OSError, ValueError) as error:
            raise _unreadable(folder, name, error) from error
        if found != record:
            wrong, expected, got = (
                ("size", f"{record.bytes} bytes", f"{found.bytes} bytes")
                if found.bytes != record.bytes
                else ("sha256", record.sha256, found.sha256)
            )
            raise BundleError(
                f"bundle {folder} file {name} has the wrong {wrong}",
                expected=expected,
                got=got,
                fix="Export or copy the bundle again",
            )


def _unreadable(folder: Path, name: str, error: Exception) -> BundleError:
    return BundleError(
        f"bundle {folder} file {name} cannot be read", expected="a readable file", got=str(error)
    )


@contextlib.contextmanager
def replace_folder(target: Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside ``target`` that becomes it when the block succeeds.

    When the block fails nothing is left behind, and a ``target`` that existed is untouched. Where
    ``target`` is a link, what it names is replaced and the link stays; what a bundle's folder holds
    beside the bundle is carried over.

    Raises:
        BundleError: ``target`` exists and ``force`` is not set, or it is no bundle, or nothing can
            be written beside it.
    """
    check_replaceable(target, force=force)
    try:
        place = target.resolve()
        missing = [parent for parent in place.parents if not parent.exists()]
    except (OSError, RuntimeError, ValueError) as error:  # such as a loop of links, a zero byte
        raise _unwritable(target, error) from error
    # The holder is private; the folder inside it has the permissions that any new folder gets.
    holder = place.parent / f".{place.name}.{secrets.token_hex(4)}"
    work, old = holder / "new", holder / "old"
    try:  # from before the first folder is made: a request to end may come at any moment
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            holder.mkdir(mode=0o700)
            work.mkdir()
        except OSError as error:
            raise _unwritable(target, error) from error
        yield work
        check_replaceable(target, force=force)  # it may have appeared meanwhile
        if place.exists():
            _carry(_strays(place), work)
            place.replace(old)
        work.replace(place)
    finally:
        if _is_there(holder):
            if old.exists() and not place.exists():
                old.replace(place)
            shutil.rmtree(holder)
        _remove_empty(missing)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that is too long
        return False


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove those that hold nothing, the innermost first."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it holds the bundle, or was never made
            folder.rmdir()


def _unwritable(target: Path, error: Exception) -> BundleError:
    return BundleError(
        f"output {target} cannot be written",
        expected="a folder that can be made and written to",
        got=str(error),
    )


def check_replaceable(target: Path, *, force: bool) -> None:
    """Make sure that a bundle may be written to a place, before work is done for it.

    Raises:
        BundleError: ``target`` exists and ``force`` is not set, or it is no bundle, or it is the
            folder that this process works in.
    """
    try:
        exists = target.exists()
    except (OSError, ValueError) as error:  # a name that is too long, or holds a zero byte
        raise _unwritable(target, error) from error
    if not exists:
        return
    if not force:
        raise BundleError(
            f"output {target} exists already", fix="Pass --force to replace it, or another -o"
        )
    if _listing(target) is None:
        raise BundleError(
            f"output {target} exists and is not a bundle",
            expected=f"the {MANIFEST} of a bundle in it",
            got="something else",
            fix="Remove it yourself, or pass another -o",
        )
    if Path.cwd().is_relative_to(target.resolve()):
        raise BundleError(
            f"output {target} is the folder that this command runs in",
            expected="a folder that can be replaced",
            got=str(Path.cwd()),
            fix="Run it from outside the bundle",
        )


def _listing(folder: Path) -> _Listing | None:
    """What a bundle of any version says that it holds; ``None`` where the folder is no bundle."""
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=_Listing)
    except (*_MALFORMED, OSError):
        return None


def _strays(folder: Path) -> list[Path]:
    """What a bundle's folder holds that is none of the bundle's."""
    listing = _listing(folder)
    own = {MANIFEST} if listing is None else {MANIFEST, *listing.files}
    return sorted(path for path in folder.iterdir() if path.name not in own)


def _carry(strays: Sequence[Path], work: Path) -> None:
    """Copy a user's own files into the new folder, so that replacing the old one loses nothing."""
    for path in strays:
        new = work / path.name
        if new.exists():
            raise BundleError(
                f"output {path.parent} holds a file {path.name} that is not the bundle's",
                expected="none of a name that the new bundle needs",
                got=path.name,
                fix="Move it away",
            )
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new, symlinks=True)
        else:
            shutil.copy2(path, new, follow_symlinks=False)
