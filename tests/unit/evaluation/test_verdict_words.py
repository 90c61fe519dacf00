"""The advice in numbers: the sentence and the page round it alike."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.evaluation.verdict_words import about_more


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (1, "about 1 more subject"),
        (99, "about 99 more subjects"),
        (101, "about 110 more subjects"),
        (1234, "about 1\u202f300 more subjects"),
        (12_000, "about 12\u202f000 more subjects"),
    ],
)
def test_the_advice_has_two_digits(number, said):
    """Rounded up, one is singular."""
    assert about_more(number, "subject") == said


@given(st.integers(1, 10_000_000))
def test_the_advice_is_never_too_few(number):
    """What is said is at least what it takes, and at most a tenth more."""
    said = int(about_more(number, "seed").split(" ")[1].replace("\u202f", ""))
    assert number <= said <= 1.1 * number
