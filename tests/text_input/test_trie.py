from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from bert_export.text_input.trie import Trie, build_trie

WORDS = st.dictionaries(
    st.lists(st.integers(1, 9), min_size=1, max_size=6).map(tuple), st.integers(0, 99), max_size=30
)


def find(trie: Trie, root: str, codes: tuple[int, ...]) -> int:
    """The value of a word; -1 where it is none."""
    state = trie.roots[root]
    for code in codes:
        place = int(trie.table[state, 1]) + code
        if trie.table[place, 0] != state:
            return -1
        state = place
    return int(trie.table[state, 2])


@given(WORDS, WORDS, st.lists(st.lists(st.integers(1, 9), max_size=6).map(tuple)))
def test_a_trie_finds_its_words_and_no_others(first, second, others):
    trie = build_trie({"first": first, "second": second}, 10)
    for name, words in (("first", first), ("second", second)):
        for codes in (*first, *second, *others):
            assert find(trie, name, codes) == words.get(codes, -1)
        assert trie.lengths[name] == max(map(len, words), default=0)
        assert set(trie.first[name]) == {codes[0] for codes in words}
