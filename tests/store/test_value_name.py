"""Names of stored values: one type, whose text is the key of records, and one parser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vqbench.errors import UsageError
from vqbench.protocol import MEASURE
from vqbench.store.value_name import Sampling, ValueName

ROOT = Path(__file__).parents[2]
WORDS = st.from_regex(re.compile(r"[a-z][a-z_]{0,9}", re.ASCII), fullmatch=True)
COUNTS = st.integers(1, 10**9)
SETTINGS = st.dictionaries(
    WORDS.filter(lambda word: word not in ("n", "reference", "references")), COUNTS | st.floats(-9, 9)
)
SAMPLINGS = st.builds(Sampling, COUNTS, st.sampled_from(["train", "test"]), st.none() | COUNTS, SETTINGS)
NAMES = st.builds(ValueName, WORDS, st.none() | COUNTS, st.none() | SAMPLINGS)


def published() -> list[str]:
    """All names of values in the published records and resolved suites."""
    records = [json.loads(path.read_text()) for path in (ROOT / "results").glob("*/record.json")]
    plans = [json.loads(path.read_text()) for path in (ROOT / "results" / "suites").glob("*.json")]
    samplings = [f"clean{plan['sampling']}" for plan in plans if plan.get("sampling")]
    return sorted({name for record in records for name in record["values"]} | set(samplings))


def test_published_names_survive() -> None:
    """The name of every published value is parsed, measured under a known protocol, and printed the same."""
    names = published()
    assert {"clean", "official@1000", "clean:n=1000,reference=test,temperature=1"} <= set(names)
    assert [str(ValueName.parse(name)) for name in names] == names
    assert all(ValueName.parse(name).measuring in MEASURE.values() for name in names)


@given(name=NAMES)
def test_names_survive(name: ValueName) -> None:
    """Any name that is printed parses to the values that it prints."""
    text = str(name)
    back = ValueName.parse(text)
    assert str(back) == text
    assert (back.protocol, back.images, back.sampling is None) == (name.protocol, name.images, name.sampling is None)


@pytest.mark.parametrize(
    "text",
    [
        *("clean@", "clean@all", "clean@-1", "clean@²", "clean:", "clean:n=3", "clean:n=x,reference=test"),
        *("clean:n=3,reference=validation", "clean:n=3,reference=test,steps", "clean:n=3,reference=test,references=x"),
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    """A text that names no value is a ValueError, never a name of other values."""
    with pytest.raises(ValueError, match="does not name a"):
        ValueName.parse(text)


def test_unknown_protocols_are_refused_when_measured() -> None:
    """A name of a protocol that this version does not have parses, but cannot be measured."""
    with pytest.raises(UsageError, match="did you mean 'clean'"):
        _ = ValueName.parse("cleen@10").measuring
