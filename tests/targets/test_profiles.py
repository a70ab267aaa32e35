from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bert_export.bundle import TensorSpec
from bert_export.errors import InputError
from bert_export.targets.profiles import make_profiles, profiles_from_lengths, read_lengths


def _ranges(profiles, axis="sequence"):
    return [(p.axes[axis].least, p.axes[axis].usual, p.axes[axis].most) for p in profiles]


def test_every_length_ends_a_bucket():
    profiles = make_profiles(max_length=512, batch_sizes=(64, 1, 8), lengths=(128, 16, 512))
    assert _ranges(profiles) == [(1, 16, 16), (17, 128, 128), (129, 512, 512)]
    assert _ranges(profiles, "batch") == [(1, 8, 64)] * 3


def test_one_profile_serves_all_where_nothing_is_named():
    assert _ranges(make_profiles(max_length=512)) == [(1, 128, 512)]
    assert _ranges(make_profiles(max_length=32)) == [(1, 32, 32)]


def test_shapes_follow_the_inputs_axes():
    (profile,) = make_profiles(max_length=32, batch_sizes=(1, 2, 4))
    spec = TensorSpec(name="input_ids", dtype="int64", shape=("batch", "choices", "sequence"))
    assert profile.shapes(spec) == ((1, 1, 1), (2, 4, 32), (4, 16, 32))
    other = TensorSpec(name="x", dtype="int64", shape=("planes",))
    with pytest.raises(InputError, match="profile has no axis planes of input x"):
        profile.shapes(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lengths": (513,)}, "length 513 is too long: expected at most 512"),
        ({"lengths": (0, 16)}, "lengths hold a size that is too small: expected 1, got 0"),
        ({"batch_sizes": (0,)}, "batch sizes hold a size that is too small"),
        (
            {"batch_sizes": (1, 8, 10**20)},
            f"batch sizes hold a size that is too large: expected at most 1048576, got {10**20}",
        ),
    ],
)
def test_sizes_are_checked(options, message):
    with pytest.raises(InputError, match=message):
        make_profiles(max_length=512, **options)


def _padded(histogram, ends):
    return sum(
        count * next(end for end in ends if length <= end) for length, count in histogram.items()
    )


@given(st.dictionaries(st.integers(1, 14), st.integers(1, 9), min_size=1, max_size=9))
def test_buckets_pad_least(histogram):
    """Against every choice of at most three ends."""
    profiles = profiles_from_lengths(histogram, max_length=14)
    ends = [most for _, _, most in _ranges(profiles)]
    assert ends[-1] == 14
    chosen = [*ends[:-1], max(histogram)]
    best = min(
        _padded(histogram, [*some, max(histogram)])
        for size in range(3)
        for some in itertools.combinations(sorted(histogram), size)
    )
    assert _padded(histogram, chosen) == best
    starts = [least for least, _, _ in _ranges(profiles)]
    assert starts == [1, *(end + 1 for end in ends[:-1])]


def test_longer_texts_are_cut_and_the_median_is_usual():
    (profile,) = profiles_from_lengths({5: 10, 7: 1, 900: 2}, max_length=8, buckets=1)
    assert _ranges([profile]) == [(1, 5, 8)]


@pytest.mark.parametrize(
    ("histogram", "message"),
    [({}, "histogram of lengths is empty"), ({0: 1}, "not valid"), ({3: 0}, "not valid")],
)
def test_a_histogram_is_checked(histogram, message):
    with pytest.raises(InputError, match=message):
        profiles_from_lengths(histogram, max_length=16)


def test_lengths_are_read_with_and_without_counts(tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text("# tokens\n12\n12\n30,4\n7\t2\n 9 1\n\n", encoding="utf-8")
    assert read_lengths(path) == {12: 2, 30: 4, 7: 2, 9: 1}


@pytest.mark.parametrize(
    "line", ["twelve", "1 2 3", "-4", "1.5", "²", ",", " ,\t,", "1" * 10, "7" * 200_000]
)
def test_a_malformed_line_is_named(line, tmp_path):
    path = tmp_path / "lengths.txt"
    path.write_text(f"3\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"lengths\.txt, line 2, is malformed"):
        read_lengths(path)


def test_an_absent_file_is_an_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_lengths(tmp_path / "absent.txt")
