"""Pages: all of a list, each once, whatever the sizes; nobody else's tokens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.core.errors import Invalid
from mien.core.pages import MOST, page_of, page_size, read_token, write_token


@given(st.sets(st.text(max_size=5), max_size=30), st.integers(1, 8))
def test_pages_hold_everything_once_and_in_order(names, size):
    """Following the tokens gives the list again; no page is larger than asked."""
    listed, found, token = sorted(names), [], ""
    while True:
        page, token = page_of(listed, str, "names", size, token)
        assert len(page) <= size
        found += page
        if not token:
            break
    assert found == listed


@given(st.text(), st.one_of(st.integers(0, 2**31), st.text()))
def test_a_token_is_good_for_its_own_list_only(listed, last):
    """Another list, other filters, or an altered letter: refused."""
    token = write_token(listed, last)
    assert read_token(listed, token, None) == last
    for wrong_list, wrong in ((listed + "x", token), (listed, "!" + token), (listed, token[1:])):
        with pytest.raises(Invalid) as caught:
            read_token(wrong_list, wrong, None)
        assert caught.value.reason == "PAGE_TOKEN"


@pytest.mark.parametrize("asked", [-1, MOST + 1])
def test_sizes_have_limits(asked):
    """Outside them is refused; 0 is the usual."""
    assert page_size(0) == 100
    with pytest.raises(Invalid) as caught:
        page_size(asked)
    assert caught.value.reason == "PAGE_SIZE"


def test_a_page_that_ended_with_what_is_gone_begins_again():
    """It is refused rather than guessed where the next begins."""
    _, token = page_of(["a", "b", "c"], str, "names", 2, "")
    with pytest.raises(Invalid):
        page_of(["a", "c"], str, "names", 2, token)
