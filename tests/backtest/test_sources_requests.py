"""Files of requests: whatever a public trace looks like, and every mistake at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from autoscaler.backtest.history import Gap, history
from autoscaler.backtest.sources_requests import read_replicas_ran, read_requests, silences
from autoscaler.core.errors import ConfigError

GOOD = "arrival_s,prompt_tokens,output_tokens\n0.5,100,10\n2.0,200,20\n3.5,300,30\n"


def written(folder: Path, text: str, name: str = "requests.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_plain_csv_is_read_and_the_columns_taken_are_said(tmp_path: Path) -> None:
    told = read_requests(written(tmp_path, GOOD))
    assert told.arrival_s.tolist() == [0.5, 2.0, 3.5]
    assert told.prompt_tokens.tolist() == [100, 200, 300]
    assert told.output_tokens.tolist() == [10, 20, 30]
    assert "arrival_s (seconds)" in told.facts[0]
    assert told.end_s == 5.0, "the last request stands for a time between two as well"


@pytest.mark.parametrize(
    ("header", "first"),
    [
        ("TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16 18:15:46.6805900,374,44"),
        ("Timestamp,Model,Request tokens,Response tokens,Total tokens", "5,ChatGPT,472,18,490"),
        ("arrived_at,num_prefill_tokens,num_decode_tokens", "0.0,10,5"),
        ("time;input", None),
    ],
)
def test_the_column_names_of_public_traces_are_known(tmp_path: Path, header: str, first: str | None) -> None:
    if first is None:
        with pytest.raises(ConfigError, match="one for the output"):
            read_requests(written(tmp_path, f"{header}\n1;2\n"))
        return
    path = written(tmp_path, f"{header}\n{first}\n{first}\n")
    assert len(read_requests(path).arrival_s) == 2


def test_iso_times_are_unix_seconds_and_utc_without_a_zone(tmp_path: Path) -> None:
    rows = "2024-05-12T00:00:00Z,1,1\n2024-05-12 00:00:01.5,1,1\n2024-05-12T02:00:02+02:00,1,1\n"
    told = read_requests(written(tmp_path, f"timestamp,input_tokens,output_tokens\n{rows}"))
    assert (told.arrival_s - told.arrival_s[0]).tolist() == [0.0, 1.5, 2.0]
    assert told.arrival_s[0] == 1715472000.0


@pytest.mark.parametrize(("scale", "column", "unit"), [(1e3, "timestamp", None), (1e3, "t_ms", None), (1e9, "ts", None),
                                                       (1e3, "ts", "ms")])  # fmt: skip
def test_numeric_times_are_read_in_their_unit(tmp_path: Path, scale: float, column: str, unit: str | None) -> None:
    start = 1.7e9 if column != "t_ms" and unit is None else 0.0
    name = {"t_ms": "arrival_ms"}.get(column, column)
    rows = "".join(f"{int((start + k) * scale)},1,1\n" for k in range(3))
    told = read_requests(written(tmp_path, f"{name},prompt_tokens,output_tokens\n{rows}"), unit=unit)
    assert np.diff(told.arrival_s).tolist() == pytest.approx([1.0, 1.0], abs=1e-6)


def test_json_lines_and_gzip_are_told_by_their_contents(tmp_path: Path) -> None:
    rows = [{"timestamp": 1000 * k, "input_length": 5, "output_length": 6, "hash_ids": [1]} for k in range(3)]
    path = tmp_path / "mooncake.jsonl"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    told = read_requests(path, unit="ms")
    assert told.arrival_s.tolist() == [0.0, 1.0, 2.0]
    assert told.output_tokens.tolist() == [6, 6, 6]


def test_a_count_of_tokens_is_taken_before_a_column_that_may_hold_the_text(tmp_path: Path) -> None:
    rows = [
        {"t": k, "prompt": "tell me", "input_tokens": 7, "output": "once upon", "completion_tokens": 9}
        for k in range(2)
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    told = read_requests(path)
    assert (told.prompt_tokens.tolist(), told.output_tokens.tolist()) == ([7, 7], [9, 9])


def test_all_problems_of_a_file_are_told_at_once_by_line(tmp_path: Path) -> None:
    text = "arrival_s,prompt_tokens,output_tokens\n0,1,1\nx,1,1\n2,-3,1\n3,1,\n4,nan,inf\n\n5,6\n"
    with pytest.raises(ConfigError) as caught:
        read_requests(written(tmp_path, text))
    lines = [(problem.path, problem.found) for problem in caught.value.problems]
    assert lines == [
        ("line 3", "arrival_s 'x'"),
        ("line 4", "prompt_tokens '-3'"),
        ("line 5", "output_tokens ''"),
        ("line 6", "prompt_tokens 'nan'"),
        ("line 6", "output_tokens 'inf'"),
        ("line 8", "2 columns"),
    ]


@pytest.mark.parametrize("time", ["{}", "2026-05-01T00:00:0{}"])
def test_a_row_with_more_fields_than_the_header_is_refused(tmp_path: Path, time: str) -> None:
    # 1,569 without quotes was read as a prompt of one token and an output of 569.
    rows = "".join(f"{time.format(k)},{prompt},203\n" for k, prompt in enumerate(("1,569", "7", "1,012")))
    with pytest.raises(ConfigError) as caught:
        read_requests(written(tmp_path, f"arrival_s,prompt_tokens,output_tokens\n{rows}"))
    assert [(one.path, one.found, one.expected) for one in caught.value.problems] == [
        ("line 2", "4 columns", "3"),
        ("line 4", "4 columns", "3"),
    ]


def test_a_comma_at_the_end_of_every_line_and_quotes_are_fine(tmp_path: Path) -> None:
    told = read_requests(written(tmp_path, 'arrival_s,prompt_tokens,output_tokens\n0,1,2,\n1,"3",4,\n'))
    assert (told.prompt_tokens.tolist(), told.output_tokens.tolist()) == ([1, 3], [2, 4])


@pytest.mark.parametrize("time", ["{}", "2026-05-01T00:00:0{}"])
def test_a_column_that_is_needed_and_there_twice_is_refused(tmp_path: Path, time: str) -> None:
    # By the format of the times the first was taken or the last.
    rows = "".join(f"{time.format(k)},900,200,1\n" for k in range(3))
    with pytest.raises(ConfigError, match="2 columns prompt_tokens, expected one of that name"):
        read_requests(written(tmp_path, f"arrival_s,prompt_tokens,output_tokens,Prompt-Tokens\n{rows}"))


def test_a_column_that_is_not_needed_may_be_there_twice(tmp_path: Path) -> None:
    told = read_requests(written(tmp_path, "id,t,isl,osl,id\n1,0,5,6,a\n2,1,7,8,b\n"))
    assert told.prompt_tokens.tolist() == [5, 7]


def test_a_thousand_problems_are_fifty_and_a_number(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read_requests(written(tmp_path, "arrival_s,prompt_tokens,output_tokens\n" + "1,1,1\n" + "1,x,1\n" * 1000))
    assert (len(caught.value.problems), caught.value.more) == (50, 950)
    assert "1000 problems" in str(caught.value)
    assert str(caught.value).endswith("and 950 more")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a header"),
        ("1,2,3\n4,5,6\n", "a header"),
        ("arrival_s,prompt_tokens,output_tokens\n", "one row per request"),
        ("arrival_s,prompt_tokens,output_tokens\n1,2\n", "line 2: found 2 columns, expected 3"),
        ('{"t": 1}\n{"t": \n', "line 2"),
    ],
)
def test_a_file_that_is_no_table_of_requests_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_requests(written(tmp_path, text))
    with pytest.raises(ConfigError, match="the file"):
        read_requests(tmp_path / "absent.csv")


@pytest.mark.parametrize("mark", [";", "\t"])
def test_columns_may_be_apart_by_semicolons_or_tabs(tmp_path: Path, mark: str) -> None:
    told = read_requests(written(tmp_path, GOOD.replace(",", mark)))
    assert told.prompt_tokens.tolist() == [100, 200, 300]
    with pytest.raises(ConfigError, match="line 2: found arrival_s '0,5', expected"):
        read_requests(written(tmp_path, "arrival_s;prompt_tokens;output_tokens\n0,5;100;10\n"))


@pytest.mark.parametrize(
    ("apart_s", "prompt", "said"),
    [
        (1.0, 100.0, None),
        (1.0, 3e6, "The largest prompt is 3,000,150 tokens, which no model takes"),
        (100_000.0, 100.0, "(173.6 days): if the times are in another unit"),
        (1e-5, 100.0, "151 requests in 0 s"),
    ],
)
def test_what_is_hardly_true_of_a_service_is_asked_about(
    tmp_path: Path, apart_s: float, prompt: float, said: str | None
) -> None:
    rows = "".join(f"{k * apart_s:.6f},{prompt + k:.0f},{20 + k}\n" for k in range(151))
    asked = read_requests(written(tmp_path, f"arrival_s,prompt_tokens,output_tokens\n{rows}")).warnings
    assert asked == () if said is None else any(said in one for one in asked)


def test_requests_that_are_all_of_one_size_are_told(tmp_path: Path) -> None:
    rows = "".join(f"{k},900,{20 + k}\n" for k in range(150))
    (told,) = read_requests(written(tmp_path, f"arrival_s,prompt_tokens,output_tokens\n{rows}")).warnings
    assert told == "Every prompt is 900 tokens: where sizes vary, more replicas are needed than here."


def test_unsorted_rows_are_sorted_and_said_with_their_line(tmp_path: Path) -> None:
    text = "arrival_s,prompt_tokens,output_tokens\n5,1,1\n3,2,2\n9,3,3\n"
    told = read_requests(written(tmp_path, text))
    assert told.prompt_tokens.tolist() == [2, 1, 3]
    assert "1 rows are earlier than the row before (the first: line 3)" in told.warnings[0]


def test_a_silence_in_busy_traffic_is_no_data_and_one_in_thin_traffic_is_idle() -> None:
    busy = np.concatenate([np.arange(0, 1200, 0.5), np.arange(3000, 4200, 0.5)])
    assert silences(busy) == (Gap(1199.5, 3000.0),)
    thin = np.concatenate([np.arange(0, 1200, 30.0), np.arange(3000, 4200, 30.0)])
    assert silences(thin) == ()


def test_a_gap_stops_the_clock_and_too_much_of_it_is_refused(tmp_path: Path) -> None:
    times = [*np.arange(0, 1200, 0.5), *np.arange(3000, 6000, 0.5)]
    text = "arrival_s,prompt_tokens,output_tokens\n" + "".join(f"{t},1,1\n" for t in times)
    path = written(tmp_path, text)
    told = read_requests(path)
    cut = history("x", "requests", told, 0.5)
    assert cut.end_s == pytest.approx(6000.0 - 1800.5)
    assert np.diff(cut.trace.arrival_s).max() <= 0.5
    assert cut.timeline.source(1200.0) == pytest.approx(3000.5)
    assert "No data, excluded (30.0% of the span): 1,200 s to 3,000 s" in cut.warnings[-1]
    with pytest.raises(ConfigError, match="at most 20%"):
        history("x", "requests", told, 0.2)
    assert read_requests(path, idle_gaps=True).gaps == ()


def test_what_ran_is_read_in_order_and_its_mistakes_by_line(tmp_path: Path) -> None:
    assert read_replicas_ran(written(tmp_path, "time,replicas\n60,3\n0,2\n")) == ((0.0, 2), (60.0, 3))
    with pytest.raises(ConfigError, match=r"line 3: found replicas 2\.5, expected a whole number"):
        read_replicas_ran(written(tmp_path, "time,replicas\n60,3\n0,2.5\n"))
    with pytest.raises(ConfigError, match="a count"):
        read_replicas_ran(written(tmp_path, "time,foo\n60,3\n"))
