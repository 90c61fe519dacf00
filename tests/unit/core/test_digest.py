"""Names of content."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mien.core.digest import digest_bytes, digest_lines


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_lines_have_the_digest_of_the_whole_text(lines):
    """Line by line or in one piece: the same name, no lines included."""
    assert digest_lines(iter(lines)) == digest_bytes(b"\n".join(lines))


@given(st.lists(st.binary(max_size=3), min_size=2, max_size=4, unique=True))
def test_the_order_of_lines_matters(lines):
    """Other order, other content, other name."""
    turned = lines[::-1]
    assert (digest_lines(lines) == digest_lines(turned)) == (
        b"\n".join(lines) == b"\n".join(turned)
    )
