"""Traps of real pages, each by its sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoscaler.core.errors import ConfigError, TargetError
from autoscaler.core.histogram import sound
from autoscaler.core.records import Sample
from autoscaler.exposition import SeriesCache, read_page
from autoscaler.modelservers import WANTED, profile, read_sample

DATA = Path(__file__).parent.parent / "data" / "metrics"


def read(text: str, server: str = "auto") -> Sample:
    return read_sample(read_page(text, SeriesCache(WANTED)), server, 1000.0)


def recorded(name: str) -> Sample:
    return read((DATA / f"{name}.txt").read_text())


@pytest.mark.parametrize(
    ("name", "server"),
    [
        ("vllm-0.32.0-busy", "vllm"),
        ("vllm-0.32.0-apiserver2-busy", "vllm"),
        ("vllm-0.32.0-openmetrics-busy", "vllm"),
        ("dynamo-mocker-worker-1.6.1-busy", "vllm"),
        ("dynamo-frontend-1.6.1-busy", "dynamo"),
        ("llama-server-0.5.0dev-0c1e570-busy", "llamacpp"),
    ],
)
def test_the_server_is_told_by_its_page(name: str, server: str) -> None:
    assert recorded(name).server == server


def test_a_busy_vllm_page_gives_every_signal_of_demand() -> None:
    sample = recorded("vllm-0.32.0-preempt-busy")
    assert (sample.running, sample.waiting) == (2.0, 13.0)
    assert sample.preemptions == 1.0
    assert sample.model == "tiny-llama"
    assert sound(sample.ttft)
    assert sound(sample.itl)
    assert sample.ttft is not None
    assert sample.ttft.counts[-1] == sample.arrivals_counter
    assert not sample.asleep


def test_blocks_that_every_engine_repeats_are_not_summed() -> None:
    # 48 blocks of 128 tokens per engine: the page prints 96 on both engines' series.
    sample = recorded("vllm-0.32.0-dp2-busy")
    assert sample.kv_capacity_tokens == 2 * 48 * 128
    old = 'vllm:num_requests_running{engine="0"} 1\n' + "".join(
        f'vllm:cache_config_info{{block_size="128",engine="{i}",kv_cache_size_tokens="None",num_gpu_blocks="96"}} 1\n'
        for i in range(2)
    )
    assert read(old).kv_capacity_tokens == 96 * 128


def test_running_is_summed_over_engines() -> None:
    assert read('vllm:num_requests_running{engine="0"} 3\nvllm:num_requests_running{engine="1"} 4\n').running == 7.0


def test_both_names_of_the_kv_cache_are_one_cache() -> None:
    text = "vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.5\nvllm:kv_cache_usage_perc 0.5\n"
    assert read(text).kv_usage == 0.5


def test_the_old_name_of_the_kv_cache_is_read_where_it_is_the_only_one() -> None:
    assert read("vllm:num_requests_running 1\nvllm:gpu_cache_usage_perc 0.25\n").kv_usage == 0.25


def test_a_gauge_printed_by_every_process_counts_once() -> None:
    text = "".join(f'vllm:num_requests_running{{engine="0",pid="{i}"}} {v}\n' for i, v in enumerate((5, 0)))
    assert read(text).running == 5.0


def test_lora_series_do_not_disturb_the_load() -> None:
    sample = recorded("vllm-0.32.0-lora-busy")
    assert sample.running is not None
    assert sample.running <= 4.0


def test_a_sleeping_server_answers_but_is_asleep() -> None:
    text = 'vllm:num_requests_running 0\nvllm:engine_sleep_state{sleep_state="awake"} 0\n'
    assert read(text).asleep


def test_tensor_ranks_of_sglang_report_one_queue_and_data_ranks_add() -> None:
    text = "".join(
        f'sglang:num_queue_reqs{{dp_rank="{dp}",tp_rank="{tp}",model_name="m"}} {dp + 1}\n'
        f'sglang:num_running_reqs{{dp_rank="{dp}",tp_rank="{tp}",model_name="m"}} 10\n'
        for dp in range(2)
        for tp in range(4)
    )
    sample = read(text)
    assert (sample.waiting, sample.running) == (3.0, 20.0)


def test_priorities_of_sglang_repeat_the_total() -> None:
    text = 'sglang:num_running_reqs{priority=""} 5\nsglang:num_running_reqs{priority="1"} 5\n'
    assert read(text).running == 5.0


def test_a_fresh_tgi_page_without_a_queue_has_an_empty_queue() -> None:
    sample = read("tgi_batch_next_size_count 0\n")
    assert (sample.waiting, sample.running) == (0.0, 0.0)


def test_a_missing_series_of_vllm_is_unknown_and_not_zero() -> None:
    assert read("vllm:num_requests_running 1\n").waiting is None


def test_nan_on_a_page_is_unknown() -> None:
    assert read("vllm:num_requests_running 1\nvllm:kv_cache_usage_perc NaN\n").kv_usage is None


def test_bounds_of_a_histogram_are_read_from_the_page_and_sorted() -> None:
    rows = {"+Inf": 9, "1e-01": 3, "1.0": 7, "0.05": 1}
    text = "vllm:num_requests_running 1\n" + "".join(
        f'vllm:time_to_first_token_seconds_bucket{{le="{le}"}} {n}\n' for le, n in rows.items()
    )
    ttft = read(text).ttft
    assert ttft is not None
    assert ttft.bounds == (0.05, 0.1, 1.0, float("inf"))
    assert ttft.counts == (1.0, 3.0, 7.0, 9.0)


def test_milliseconds_of_triton_become_seconds() -> None:
    text = (
        'nv_inference_request_success{model="m"} 4\n'
        'nv_inference_first_response_histogram_ms_bucket{model="m",le="500"} 3\n'
        'nv_inference_first_response_histogram_ms_bucket{model="m",le="+Inf"} 4\n'
        'nv_inference_first_response_histogram_ms_sum{model="m"} 2000\n'
    )
    ttft = read(text).ttft
    assert ttft is not None
    assert ttft.bounds[0] == 0.5
    assert ttft.total == 2.0


def test_the_waiting_of_a_dynamo_frontend_includes_prefill() -> None:
    sample = recorded("dynamo-frontend-1.6.1-busy")
    assert (sample.waiting, sample.running) == (20.0, 4.0)
    assert sample.arrivals_counter == 28.0


def test_llama_server_has_no_request_counter() -> None:
    sample = recorded("llama-server-0.5.0dev-0c1e570-busy")
    assert (sample.running, sample.waiting, sample.arrivals_counter) == (4.0, 19.0, None)


def test_a_page_of_no_known_server_says_what_was_expected() -> None:
    with pytest.raises(TargetError, match="no series of a known server"):
        read("go_goroutines 5\n")


def test_a_page_of_another_server_than_named_is_an_error() -> None:
    with pytest.raises(TargetError, match="no series of sglang"):
        read("vllm:num_requests_running 1\n", "sglang")


def test_a_misspelt_server_gets_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'vllm'"):
        profile("vlllm")


def test_the_engine_type_names_of_llm_d_are_understood() -> None:
    assert profile("trtllm-serve").name == "trtllm"
    assert profile("triton-tensorrt-llm").name == "triton"
