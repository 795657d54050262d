"""The fast reader reads what the official parser reads."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from autoscaler.core.errors import TargetError
from autoscaler.exposition import CACHE_SIZE, SeriesCache, normal, read_page

PAGES = sorted((Path(__file__).parent.parent / "data" / "metrics").glob("*.txt"))
Row = tuple[str, tuple[tuple[str, str], ...], str]


def official(text: str) -> list[Row]:
    # Without TYPE lines: with them it appends `_total` to the names of counters that lack it.
    text = "\n".join(line for line in text.split("\n") if not line.startswith("# TYPE"))
    return sorted(
        (normal(s.name), tuple(sorted(s.labels.items())), repr(float(s.value)))
        for family in text_string_to_metric_families(text)
        for s in family.samples
    )


def ours(text: str, cache: SeriesCache) -> list[Row]:
    page = read_page(text, cache)
    return sorted(
        (name, tuple(sorted(labels.items())), repr(value))
        for name, rows in page.samples.items()
        for labels, value in rows
    )


def all_names(text: str) -> frozenset[str]:
    return frozenset(name for name, _, _ in official(text))


@pytest.mark.parametrize("path", [p for p in PAGES if "openmetrics" not in p.name], ids=lambda p: p.stem)
def test_every_recorded_page_reads_as_with_the_official_parser_first_and_again(path: Path) -> None:
    text = path.read_text()
    cache = SeriesCache(all_names(text))
    expected = official(text)
    assert expected
    assert ours(text, cache) == expected
    assert ours(text, cache) == expected  # from the dictionary


def test_only_wanted_families_are_kept() -> None:
    page = read_page('a{x="1"} 2\nb 3\n', SeriesCache(frozenset({"b"})))
    assert dict(page.samples) == {"b": [({}, 3.0)]}


def test_a_colon_and_its_underscore_spelling_are_one_family() -> None:
    cache = SeriesCache(frozenset({"vllm_num_requests_running"}))
    for name in ("vllm:num_requests_running", "vllm_num_requests_running"):
        assert read_page(f'{name}{{engine="0"}} 4\n', cache).series("vllm_num_requests_running")[0][1] == 4.0


def test_a_timestamp_is_never_taken_for_the_value() -> None:
    text = 'a{x="1"} 2 1700000000000\nb 3 1700000000000\n'
    cache = SeriesCache(frozenset({"a", "b"}))
    for _ in range(2):
        page = read_page(text, cache)
        assert [page.series(n)[0][1] for n in "ab"] == [2.0, 3.0]


def test_an_openmetrics_page_whose_types_and_samples_disagree_is_read() -> None:
    text = next(p for p in PAGES if "openmetrics" in p.name).read_text()
    page = read_page(text, SeriesCache(frozenset({"vllm_num_requests_running"})))
    assert len(page.series("vllm_num_requests_running")) == 1


def test_an_exemplar_is_never_taken_for_the_value() -> None:
    text = 'a_bucket{le="1"} 5 # {trace="x"} 0.5\na_bucket{le="+Inf"} 6\n# EOF\n'
    cache = SeriesCache(frozenset({"a_bucket"}))
    for _ in range(2):
        assert [value for _, value in read_page(text, cache).series("a_bucket")] == [5.0, 6.0]


def test_a_broken_line_is_the_servers_fault_and_names_its_number() -> None:
    with pytest.raises(TargetError, match="line 2 of its metrics page"):
        read_page('a 1\na{x="} 2\n', SeriesCache(frozenset({"a"})))


def test_label_values_without_bound_do_not_grow_the_dictionary_for_ever() -> None:
    cache = SeriesCache(frozenset())
    read_page("".join(f'a{{id="{i}"}} 1\n' for i in range(CACHE_SIZE + 10)), cache)
    assert len(cache.series) <= CACHE_SIZE


names = st.from_regex(r"[a-zA-Z_:][a-zA-Z0-9_:]{0,8}", fullmatch=True)
label_names = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,5}", fullmatch=True)
label_values = st.text(alphabet='ab {}",\\\n=#1', max_size=8).map(
    lambda v: v.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
)
values = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True).map(
        lambda v: "NaN" if math.isnan(v) else ("+Inf" if v == math.inf else "-Inf" if v == -math.inf else repr(v))
    ),
    st.integers(-(10**12), 10**12).map(str),
)


@st.composite
def lines(draw: st.DrawFn) -> str:
    labels = draw(st.dictionaries(label_names, label_values, max_size=3))
    inside = ",".join(f'{k}="{v}"' for k, v in labels.items())
    comma = "," if inside and draw(st.booleans()) else ""
    braces = f"{{{inside}{comma}}}" if labels or draw(st.booleans()) else ""
    stamp = f" {draw(st.integers(0, 10**13))}" if draw(st.booleans()) else ""
    return f"{draw(names)}{braces} {draw(values)}{stamp}"


@settings(max_examples=300, deadline=None)
@given(st.lists(lines(), max_size=8))
def test_any_page_reads_as_with_the_official_parser(page: list[str]) -> None:
    text = "\n".join(page) + "\n"
    try:
        expected = official(text)
    except ValueError:
        with pytest.raises(TargetError):
            ours(text, SeriesCache(frozenset(normal(line.split("{")[0].split(" ")[0]) for line in page)))
        return
    cache = SeriesCache(all_names(text))
    assert ours(text, cache) == expected
    assert ours(text, cache) == expected
