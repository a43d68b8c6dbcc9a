import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hinpaint.ids import EntryKey

part = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="|"), min_size=1, max_size=40)
keys = st.builds(EntryKey, part, part, part)


@given(keys)
def test_text_and_file_name_lead_back_to_the_key(key: EntryKey) -> None:
    assert EntryKey.parse(str(key)) == key
    assert EntryKey.from_file_name(key.file_name) == key


@given(keys)
def test_file_name_is_safe_everywhere(key: EntryKey) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._~%-]+", key.file_name)
    assert not key.file_name.startswith(".")
    assert "/" not in key.file_name
    assert "\\" not in key.file_name


@given(keys, keys)
def test_two_keys_never_share_a_name(first: EntryKey, second: EntryKey) -> None:
    assume(first != second)
    assert first.file_name != second.file_name
    assert str(first) != str(second)


@given(st.text(max_size=3), st.text(max_size=3))
def test_the_boundary_between_parts_is_not_blurred(left: str, right: str) -> None:
    assume(all(c.isprintable() and c != "|" for c in left + right))
    assert EntryKey("a~" + left, "b", "c" + right).file_name.count("~") == 2


@pytest.mark.parametrize("bad", ["", "a|b", "a\nb", "a\x00", "x" * 201])
def test_unfit_parts_are_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="must"):
        EntryKey("cod", "1", bad)


@pytest.mark.parametrize("text", ["", "a", "a|b", "a|b|c|d", "||"])
def test_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|reads"):
        EntryKey.parse(text)
