"""WordPiece as a graph of stock operators: strings in, ids, masks and offsets out.

The batch becomes one stream of characters with a line break after each row, so that padding costs
nothing. L is the length of the stream in characters, N in codes, W in words, T in tokens.

    text (R) ─ Tokenizer ─ characters (R, C) ─ symbols (L)
        added tokens are found in the symbols, as they stand in the text
        symbols become codes (N), normalized; what leaves nothing drops out
        added tokens that are normalized too are found in the codes
        a walk of the trie from every code at once finds the longest piece there
        pieces are chained from the start of each word to its end
    tokens (T) ─ truncation ─ rows of ids (B, S)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bert_export.text_input.alphabet import DROPPED, SPACE, Alphabet
from bert_export.text_input.trie import Trie
from bert_export.text_input.writer import Writer

__all__ = ["Template", "TokenizerPlan", "write_tokenizer"]


@dataclass(frozen=True, slots=True)
class Template:
    """The special tokens of a row, and what fills it up.

    Args:
        cls_id: Opens a row.
        sep_id: Closes each text.
        pad_id: Fills a row up.
        max_length: Tokens per row, special tokens included.
        token_types: Whether token types tell the two texts of a pair apart.
        offsets: Whether the characters of each token are told.
    """

    cls_id: int
    sep_id: int
    pad_id: int
    max_length: int
    token_types: bool = True
    offsets: bool = True


@dataclass(frozen=True, slots=True)
class TokenizerPlan:
    """All that the graph is made of.

    Args:
        alphabet: What characters mean.
        trie: Pieces at the roots ``word`` and ``rest``; numbers of added tokens at ``raw`` and
            ``normalized``, where there are any.
        added_codes: What stands for each added token in the stream.
        added_symbols: The symbol that means that code.
        unknown_id: Of a word that no pieces spell.
        longest_word: Characters of a word; a longer one is unknown.
        template: Of a row.
    """

    alphabet: Alphabet
    trie: Trie
    added_codes: tuple[int, ...]
    added_symbols: tuple[int, ...]
    unknown_id: int
    longest_word: int
    template: Template

    @property
    def codes(self) -> int:
        """One above the largest code."""
        return self.alphabet.size + len(self.added_codes)


@dataclass(frozen=True, slots=True)
class _Stream:
    """Codes (N) with the row of each, and the characters that it stands for.

    Args:
        codes: int32 (N).
        rows: int32 (N).
        begin: int32 (N): first character, counted in its row.
        end: int32 (N): one after the last.
    """

    codes: ir.Value
    rows: ir.Value
    begin: ir.Value
    end: ir.Value


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Tokens (T) of all rows, in order; the fields are those of the stream."""

    ids: ir.Value
    rows: ir.Value
    begin: ir.Value
    end: ir.Value


def write_tokenizer(
    plan: TokenizerPlan, writer: Writer, texts: Sequence[ir.Value]
) -> Mapping[str, ir.Value]:
    """Write the operators.

    Args:
        plan: The tokenizer.
        writer: Of the graph.
        texts: string (B): the text, and the second one of pairs.

    Returns:
        int64 (B, S) each: ``input_ids``, ``attention_mask``, ``token_type_ids``; and where they are
        told ``offsets``, int64 (B, S, 2), in characters of the text, zeros for special tokens.
    """
    everything = texts[0] if len(texts) == 1 else writer.op("Concat", *texts, axis=0)
    stream, rows = _read_text(plan, writer, everything)
    if "normalized" in plan.trie.roots:
        stream = _find_added(plan, writer, stream, root="normalized", to=plan.added_codes)
    tokens = _find_pieces(plan, writer, stream)
    return _fill_rows(plan.template, writer, tokens, rows, pairs=len(texts) == 2)


def _read_text(plan: TokenizerPlan, writer: Writer, text: ir.Value) -> tuple[_Stream, ir.Value]:
    """Characters, their symbols, and the codes that the normalizer makes of them."""
    w, alphabet = writer, plan.alphabet
    characters = w.op(
        "Tokenizer",
        text,
        domain="com.microsoft",
        mark=0,
        mincharnum=1,
        pad_value="",
        separators=[""],
    )
    rows, width = w.split_shape(characters)
    # A line break ends each row, so that no word goes on in the next one.
    row_end = w.op("Expand", w.strings(["\n"]), w.op("Concat", rows, w.int64([1]), axis=0))
    ended = w.op("Concat", characters, row_end, axis=1)
    flat = w.op("Reshape", ended, w.int64([-1]))
    symbols = _symbols(alphabet, w, flat)
    count = w.length(flat)
    place = w.range(count)
    stride = w.to_int32(w.op("Add", width, w.int64([1])))
    row, begin = w.op("Div", place, stride), w.op("Mod", place, stride)
    end = w.op("Add", begin, w.int32(1))
    if "raw" in plan.trie.roots:
        raw = w.op("Gather", w.int32(alphabet.table[:, 0]), symbols)
        found = _find_added(
            plan,
            w,
            _Stream(raw, row, begin, end),
            root="raw",
            to=plan.added_symbols,
            instead=symbols,
        )
        symbols, end = found.codes, found.end
    if plan.template.offsets and alphabet.moving.any():
        symbols = _put_in_order(alphabet, w, symbols)
    # Padding and what leaves nothing drops out twice: as symbols, then as codes.
    kept = w.op("Not", w.op("Equal", symbols, w.int32(0)))
    symbols, row, begin, end = (w.compress(value, kept) for value in (symbols, row, begin, end))
    table = alphabet.table[:, 1:]
    codes = w.op("Gather", w.int32(table), symbols)
    codes = w.op("Reshape", codes, w.int64([-1]))
    if table.shape[1] > 1:
        row, begin, end = (w.repeat(value, table.shape[1]) for value in (row, begin, end))
    if table.shape[1] > 1 or not table[1:].all():
        kept = w.op("Not", w.op("Equal", codes, w.int32(DROPPED)))
        codes, row, begin, end = (w.compress(value, kept) for value in (codes, row, begin, end))
    return _Stream(codes, row, begin, end), rows


def _put_in_order(alphabet: Alphabet, w: Writer, symbols: ir.Value) -> ir.Value:
    """The symbols in the order that decomposition gives marks, each at the place of another.

    The library counts: the first mark of a run stands for the first character of it, whichever that
    was. Marks that stay in the text, such as tone marks of Hangul, then tell others' places.
    """
    moving = w.op("Cast", w.op("Gather", w.boolean(alphabet.moving), symbols), to=ir.DataType.INT32)
    some = w.op("ReduceMax", w.op("Concat", moving, w.int32([0]), axis=0), keepdims=0)
    loop = w.loop(w.to_int64(some), [symbols])  # once, or not at all as in nearly every batch
    (symbols,) = loop.state
    with loop:
        order = w.op("Gather", w.int32(alphabet.orders), symbols)
        seen = w.op("Not", w.op("Less", order, w.int32(0)))
        places = w.compress(w.range(w.length(order)), seen)
        order = w.compress(order, seen)
        run = w.op("CumSum", w.to_int32(w.op("Equal", order, w.int32(0))), w.int64(0))
        key = w.op("Add", w.op("Mul", w.to_int64(run), w.int64(256)), w.to_int64(order))
        # Of equal keys the first comes first.
        _, ordered = w.ops("TopK", key, w.op("Shape", key), outputs=2, largest=0)
        moved = w.op("Gather", w.compress(symbols, seen), ordered)
        loop.set(w.op("ScatterElements", symbols, places, moved, axis=0))
    return loop.results[0]


def _symbols(alphabet: Alphabet, w: Writer, characters: ir.Value) -> ir.Value:
    """The symbol of each character, int32."""
    names = ["", *alphabet.symbols]  # padding leaves nothing
    symbols = w.op(
        "LabelEncoder",
        characters,
        domain="ai.onnx.ml",
        keys_strings=names,
        values_int64s=[0, *alphabet.symbols.values()],
        default_int64=-1,
    )
    symbols = w.to_int32(symbols)
    # Few characters are none of these: they alone meet the regular expressions.
    others = w.op("Less", symbols, w.int32(0))
    places = w.op("Compress", w.range(w.length(symbols)), others, axis=0)
    rest = w.op("Compress", characters, others, axis=0)
    meaning = w.full_like(rest, alphabet.common)
    for pattern, symbol in alphabet.classes:
        matches = w.op("RegexFullMatch", rest, pattern=pattern)
        meaning = w.op("Where", matches, w.int32(symbol), meaning)
    return w.op("ScatterElements", symbols, places, meaning, axis=0)


def _find_added(
    plan: TokenizerPlan,
    w: Writer,
    stream: _Stream,
    *,
    root: str,
    to: Sequence[int],
    instead: ir.Value | None = None,
) -> _Stream:
    """Put one code in place of the codes of each added token, and 0 in place of the rest of it.

    Args:
        plan: The tokenizer.
        w: Of the graph.
        stream: What is searched.
        root: Of the trie.
        to: The code or symbol of each added token.
        instead: What is replaced; the stream's codes when ``None``.
    """
    values = stream.codes if instead is None else instead
    children = list(plan.trie.first[root])
    is_first = np.zeros(plan.codes, np.bool_)
    is_first[children] = True
    candidates = w.op("Gather", w.boolean(is_first), stream.codes)
    starts = w.op("Compress", w.range(w.length(stream.codes)), candidates, axis=0)
    steps = w.op(
        "Mul",
        w.int64(plan.trie.longest(root)),
        w.op("Min", w.op("Size", starts), w.int64(1)),
    )
    number, length = _walk(
        plan.trie, w, stream.codes, None, starts, w.int32(plan.trie.roots[root]), steps
    )
    found = w.op("Greater", length, w.int32(0))
    starts, number, length = (w.compress(value, found) for value in (starts, number, length))
    # Everything from a start to its end is covered.
    total = w.op("Expand", w.int32([0]), w.op("Add", w.op("Shape", values), w.int64([1])))
    ends = w.op("Add", starts, length)
    opened = w.op("ScatterElements", total, starts, w.full_like(starts, 1), axis=0, reduction="add")
    closed = w.op("ScatterElements", opened, ends, w.full_like(ends, -1), axis=0, reduction="add")
    inside = w.op("CumSum", closed, w.int64(0))
    inside = w.op("Slice", inside, w.int64([0]), w.int64([-1]), w.int64([0]))
    cleared = w.op("Where", w.op("Greater", inside, w.int32(0)), w.int32(0), values)
    codes = w.op("ScatterElements", cleared, starts, w.op("Gather", w.int32(to), number), axis=0)
    last = w.op("Sub", ends, w.int32(1))
    end = w.op("ScatterElements", stream.end, starts, w.op("Gather", stream.end, last), axis=0)
    result = _Stream(codes, stream.rows, stream.begin, end)
    if instead is not None:
        return result
    kept = w.op("Not", w.op("Equal", codes, w.int32(DROPPED)))
    return _Stream(*(w.compress(value, kept) for value in (codes, stream.rows, stream.begin, end)))


def _walk(
    trie: Trie,
    w: Writer,
    codes: ir.Value,
    goes_on: ir.Value | None,
    starts: ir.Value,
    roots: ir.Value,
    steps: ir.Value,
) -> tuple[ir.Value, ir.Value]:
    """Walk the trie from many places at once.

    Args:
        trie: See :class:`bert_export.text_input.trie.Trie`.
        w: Of the graph.
        codes: int32 (N).
        goes_on: int32 (N): the codes again, 0 where a walk from before may not go on; the codes
            themselves when ``None``.
        starts: int32 (M): where walks begin.
        roots: int32 (M) or (): first states.
        steps: int64 (): codes that a walk reads at most.

    Returns:
        int32 (M) each: the value of the longest word of the trie that begins there, and its length;
        0 where there is none.
    """
    zeros = w.full_like(starts, 0)
    table = w.int32(trie.table)
    state = w.op("Add", zeros, roots)
    base = w.op("Gather", w.int32(trie.table[:, 1]), state)
    # Walks look beyond the end of the stream: nothing is there.
    beyond = w.int32(np.zeros(trie.longest() + 1, np.int32))
    later = w.op("Concat", codes if goes_on is None else goes_on, beyond, axis=0)
    first = w.op("Gather", codes, starts)
    loop = w.loop(steps, [state, base, zeros, zeros, first])
    state, base, value, length, code = loop.state
    with loop:
        place = w.op("Add", base, code)
        row = w.op("Gather", table, place)
        owner, next_base, found = w.columns(row, 3)
        fits = w.op("Equal", owner, state)
        nothing = w.int32(0)
        next_state = w.op("Where", fits, place, nothing)
        next_base = w.op("Where", fits, next_base, nothing)
        steps_done = w.op("Add", w.to_int32(loop.number), w.int32(1))
        ends = w.op("And", fits, w.op("GreaterOrEqual", found, nothing))
        value = w.op("Where", ends, found, value)
        length = w.op("Where", ends, steps_done, length)
        next_code = w.op("Gather", later, w.op("Add", starts, steps_done))
        loop.set(next_state, next_base, value, length, next_code)
    return loop.results[2], loop.results[3]


def _find_pieces(plan: TokenizerPlan, w: Writer, stream: _Stream) -> _Tokens:
    """Split the stream into words, and words into the longest pieces that the vocabulary has."""
    # Words begin after a space, and at and after a character that is a word of its own.
    alone = np.zeros(plan.codes, np.bool_)
    alone[list(plan.alphabet.words_of_their_own)] = True
    alone[list(plan.added_codes)] = True
    is_alone = w.op("Gather", w.boolean(alone), stream.codes)
    is_space = w.op("Equal", stream.codes, w.int32(SPACE))
    breaks = w.op("Or", is_alone, is_space)
    before = w.op("Concat", w.boolean([True]), breaks, axis=0)
    before = w.op("Slice", before, w.int64([0]), w.int64([-1]), w.int64([0]))
    starts_word = w.op("Or", before, is_alone)
    letters = w.op("Not", is_space)
    codes, rows, begin, end, starts_word = (
        w.compress(value, letters)
        for value in (stream.codes, stream.rows, stream.begin, stream.end, starts_word)
    )
    count = w.length(codes)
    place = w.range(count)
    inside = w.op("Not", starts_word)
    # Words, and how long they are.
    word = w.op("Sub", w.op("CumSum", w.to_int32(starts_word), w.int64(0)), w.int32(1))
    word_start = w.op("Compress", place, starts_word, axis=0)
    following = w.op("Concat", word_start, w.op("Reshape", w.to_int32(count), w.int64([1])), axis=0)
    word_end = w.op("Slice", following, w.int64([1]), w.int64([2**31 - 1]), w.int64([0]))
    word_length = w.op("Sub", word_end, word_start)
    longest = w.op("ReduceMax", w.op("Concat", word_length, w.int32([0]), axis=0), keepdims=0)
    # The longest piece from every place.
    roots = w.op(
        "Where", starts_word, w.int32(plan.trie.roots["word"]), w.int32(plan.trie.roots["rest"])
    )
    steps = w.op("Min", w.to_int64(longest), w.int64(plan.trie.longest("word", "rest")))
    goes_on = w.op("Where", inside, codes, w.int32(0))
    piece, length = _walk(plan.trie, w, codes, goes_on, place, roots, steps)
    # From the end of a piece the next one follows, unless a word begins there.
    next_place = w.op("Add", place, length)
    has_next = w.op("Concat", inside, w.boolean([False]), axis=0)
    follows = w.op("Gather", has_next, next_place)
    jump = w.op("Where", follows, next_place, place)
    reached = _follow(w, starts_word, jump, longest)
    # A word is unknown where a place that is reached has no piece, or where it is too long.
    stuck = w.op(
        "And", w.op("Equal", length, w.int32(0)), w.op("Cast", reached, to=ir.DataType.BOOL)
    )
    unknown = w.to_int32(w.op("Greater", word_length, w.int32(plan.longest_word)))
    unknown = w.op("ScatterElements", unknown, word, w.to_int32(stuck), axis=0, reduction="max")
    unknown = w.op("Greater", w.op("Gather", unknown, word), w.int32(0))
    kept = w.op(
        "Or",
        starts_word,
        w.op("And", w.op("Cast", reached, to=ir.DataType.BOOL), w.op("Not", unknown)),
    )
    ids = w.op("Where", unknown, w.int32(plan.unknown_id), piece)
    # A token ends where its last code does; an unknown word where the word does.
    last = w.op(
        "Sub",
        w.op("Where", unknown, w.op("Gather", word_end, word), next_place),
        w.int32(1),
    )
    last = w.op("Max", last, w.int32(0))
    ends = w.op("Gather", end, last)
    return _Tokens(*(w.compress(value, kept) for value in (ids, rows, begin, ends)))


def _follow(w: Writer, starts: ir.Value, jump: ir.Value, longest: ir.Value) -> ir.Value:
    """All places that jumps from the starts reach, int32, by doubling the jumps' reach."""
    # 2 ** steps >= longest; words of more than 2 ** 20 characters are unknown anyway.
    powers = w.int32([2**power for power in range(20)])
    steps = w.op("ReduceSum", w.to_int64(w.op("Less", powers, longest)), w.int64([0]), keepdims=0)
    loop = w.loop(steps, [w.to_int32(starts), jump])
    marks, jumps = loop.state
    with loop:
        reached = w.op("ScatterElements", marks, jumps, marks, axis=0, reduction="max")
        loop.set(reached, w.op("Gather", jumps, jumps))
    return loop.results[0]


def _fill_rows(
    template: Template,
    w: Writer,
    tokens: _Tokens,
    rows: ir.Value,
    *,
    pairs: bool,
) -> dict[str, ir.Value]:
    """Truncate, and write rows ``[CLS] A [SEP]`` or ``[CLS] A [SEP] B [SEP]``."""
    zeros = w.op("Expand", w.int32([0]), rows)
    counts = w.op(
        "ScatterElements",
        zeros,
        tokens.rows,
        w.full_like(tokens.rows, 1),
        axis=0,
        reduction="add",
    )
    first = w.op("CumSum", counts, w.int64(0), exclusive=1)
    number = w.op("Sub", w.range(w.length(tokens.ids)), w.op("Gather", first, tokens.rows))
    if pairs:
        return _fill_pairs(template, w, tokens, counts, number)
    limit = w.int32(template.max_length - 2)
    taken = w.op("Min", counts, limit)
    kept = w.op("Less", number, limit)
    column = w.op("Add", number, w.int32(1))
    length = w.op("Add", taken, w.int32(2))
    seps = [w.op("Sub", length, w.int32(1))]
    types = None
    return _write_rows(template, w, tokens, kept, tokens.rows, column, length, seps, types)


def _fill_pairs(
    template: Template,
    w: Writer,
    tokens: _Tokens,
    counts: ir.Value,
    number: ir.Value,
) -> dict[str, ir.Value]:
    """Pairs: the longer text is cut first, as the ``tokenizers`` library does."""
    limit = template.max_length - 3
    half = w.op("Div", w.op("Shape", counts), w.int64([2]))
    one = w.op("Slice", counts, w.int64([0]), half, w.int64([0]))
    two = w.op("Slice", counts, half, w.int64([2**31 - 1]), w.int64([0]))
    small, large = w.op("Min", one, two), w.op("Max", one, two)
    # Where the shorter one leaves room the longer one alone is cut, else both to halves.
    room = w.op(
        "Where",
        w.op("Greater", small, w.int32(limit)),
        small,
        w.op("Max", small, w.op("Sub", w.int32(limit), small)),
    )
    both = w.op("Greater", w.op("Add", small, room), w.int32(limit))
    small_kept = w.op("Where", both, w.int32(limit // 2), small)
    large_kept = w.op("Where", both, w.int32(limit // 2 + limit % 2), room)
    fits = w.op("LessOrEqual", w.op("Add", small, large), w.int32(limit))
    small_kept = w.op("Where", fits, small, small_kept)
    large_kept = w.op("Where", fits, large, large_kept)
    swapped = w.op("Greater", one, two)
    one = w.op("Min", one, w.op("Where", swapped, large_kept, small_kept))
    two = w.op("Min", two, w.op("Where", swapped, small_kept, large_kept))
    taken = w.op("Concat", one, two, axis=0)
    kept = w.op("Less", number, w.op("Gather", taken, tokens.rows))
    # The second text of a pair stands in the same row, after the first and its [SEP].
    batch = w.to_int32(half)
    is_second = w.op("GreaterOrEqual", tokens.rows, batch)
    row = w.op("Where", is_second, w.op("Sub", tokens.rows, batch), tokens.rows)
    shift = w.op("Where", is_second, w.op("Add", w.op("Gather", one, row), w.int32(2)), w.int32(1))
    column = w.op("Add", number, shift)
    length = w.op("Add", w.op("Add", one, two), w.int32(3))
    middle = w.op("Add", one, w.int32(1))
    seps = [middle, w.op("Sub", length, w.int32(1))]
    return _write_rows(template, w, tokens, kept, row, column, length, seps, middle)


def _write_rows(
    template: Template,
    w: Writer,
    tokens: _Tokens,
    kept: ir.Value,
    row: ir.Value,
    column: ir.Value,
    length: ir.Value,
    seps: Sequence[ir.Value],
    middle: ir.Value | None,
) -> dict[str, ir.Value]:
    """Put tokens and special tokens at their places.

    Args:
        template: Of a row.
        w: Of the graph.
        tokens: Of all rows.
        kept: bool (T): whether a token is left after truncation.
        row: int32 (T).
        column: int32 (T).
        length: int32 (B), special tokens included.
        seps: int32 (B) each: columns of ``[SEP]``.
        middle: int32 (B): column after which the second text begins.
    """
    ids, row, column = (w.compress(value, kept) for value in (tokens.ids, row, column))
    width = w.op("ReduceMax", length, keepdims=0)
    columns = w.op("Range", w.int32(0), width, w.int32(1))
    widths = w.op("Reshape", w.to_int64(width), w.int64([1]))
    shape = w.op("Concat", w.op("Shape", length), widths, axis=0)
    empty = w.op("Expand", w.int64([template.pad_id]), shape)
    every_row = w.range(w.length(length))
    # [CLS] and [SEP] are tokens like others, at columns of their own.
    at_rows = w.op("Concat", row, every_row, *[every_row for _ in seps], axis=0)
    at_columns = w.op("Concat", column, w.full_like(every_row, 0), *seps, axis=0)
    cls = w.full_like(length, template.cls_id)
    sep = w.full_like(length, template.sep_id)
    values = w.to_int64(w.op("Concat", ids, cls, *[sep for _ in seps], axis=0))
    places = w.pairs(at_rows, at_columns)
    outputs = {"input_ids": w.op("ScatterND", empty, places, values)}
    length = w.op("Unsqueeze", length, w.int64([1]))
    present = w.op("Less", columns, length)
    outputs["attention_mask"] = w.to_int64(present)
    if middle is None or not template.token_types:
        types = w.op("Expand", w.int64([0]), shape)
    else:
        after = w.op("Greater", columns, w.op("Unsqueeze", middle, w.int64([1])))
        types = w.to_int64(w.op("And", present, after))
    outputs["token_type_ids"] = types
    if not template.offsets:
        return outputs
    spans = [w.compress(value, kept) for value in (tokens.begin, tokens.end)]
    blank = w.op("Expand", w.int64([0]), w.op("Concat", shape, w.int64([2]), axis=0))
    outputs["offsets"] = w.op("ScatterND", blank, w.pairs(row, column), w.pairs(*spans))
    return outputs
