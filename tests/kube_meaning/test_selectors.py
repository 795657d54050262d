"""Label selectors mean what the API server means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.kube.meaning.selectors import Requirement, Selector, from_object, parse

NAMES = st.from_regex(r"[a-z]([a-z./-]{0,8}[a-z])?", fullmatch=True)
REQUIREMENTS = st.one_of(
    st.builds(Requirement, NAMES, st.sampled_from(["In", "NotIn"]), st.lists(NAMES, min_size=1, max_size=3).map(tuple)),
    st.builds(Requirement, NAMES, st.sampled_from(["Exists", "DoesNotExist"])),
)


@pytest.mark.parametrize(
    ("written", "labels", "matches"),
    [
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "b"}, True),
        ("a=b,c=d", {"a": "b"}, False),
        ("a!=b", {}, True),
        ("a!=b", {"a": "b"}, False),
        ("a in (b, c),d", {"a": "c", "d": ""}, True),
        ("a notin (b,c)", {"a": "c"}, False),
        ("!a", {"a": "x"}, False),
        ("!a", {}, True),
        ("a", {}, False),
    ],
)
def test_the_text_form_matches_like_the_api_server(written: str, labels: dict[str, str], matches: bool) -> None:
    selector = parse(written)
    assert selector is not None
    assert selector.matches(labels) is matches


@given(st.lists(REQUIREMENTS, min_size=1, max_size=4), st.dictionaries(NAMES, NAMES, max_size=4))
def test_a_selector_written_and_read_again_selects_the_same(
    requirements: list[Requirement], labels: dict[str, str]
) -> None:
    selector = Selector(tuple(requirements))
    again = parse(str(selector))
    assert again is not None
    assert again.matches(labels) == selector.matches(labels)


def test_match_labels_and_expressions_must_all_hold() -> None:
    raw = {"s": {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "In", "values": ["d", "e"]}]}}
    selector = from_object(raw, "s")
    assert selector is not None
    assert selector.matches({"a": "b", "c": "e"})
    assert not selector.matches({"a": "b"})


def test_no_selector_is_none_and_never_everything() -> None:
    assert parse("") is None
    assert parse("  ") is None
    assert from_object({}, "spec", "selector") is None
    assert from_object({"spec": {"selector": {}}}, "spec", "selector") is None
