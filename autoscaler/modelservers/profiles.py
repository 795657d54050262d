"""One profile per model server, with the versions whose names it knows.

Facts were read off servers that really ran, their sources, or vendors' documentation.
"""

from __future__ import annotations

from dataclasses import dataclass

from autoscaler.modelservers.reading import (
    Named,
    NamedHistogram,
    constant,
    first_histogram,
    first_of,
    histogram,
    label_number,
    largest,
    minus,
    plus,
    times,
    total,
    unless,
    where,
)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a server's page means; a signal that is None is not on its page."""

    name: str
    marks: tuple[str, ...]  # any of these sample names tells this server
    port: int
    path: str
    aliases: tuple[str, ...] = ()
    model_label: tuple[str, str] | None = None  # (sample name, label)
    waiting: Named | None = None
    running: Named | None = None
    max_running: Named | None = None
    kv_usage: Named | None = None
    kv_capacity_tokens: Named | None = None
    arrivals_counter: Named | None = None
    arrivals_pending: Named | None = None
    prompt_tokens: Named | None = None
    cached_prompt_tokens: Named | None = None
    generation_tokens: Named | None = None
    rejected: Named | None = None
    preemptions: Named | None = None
    awake: Named | None = None  # 0 while the server sleeps
    ttft: NamedHistogram | None = None
    itl: NamedHistogram | None = None
    tpot: NamedHistogram | None = None
    prompt_sizes: NamedHistogram | None = None
    output_sizes: NamedHistogram | None = None
    step_tokens: NamedHistogram | None = None


_VLLM_BLOCK = label_number("vllm:cache_config_info", "block_size", max)
VLLM = Profile(
    name="vllm",
    marks=("vllm:num_requests_running", "vllm:num_requests_waiting"),
    port=8000,
    path="/metrics",
    model_label=("vllm:num_requests_running", "model_name"),
    waiting=total("vllm:num_requests_waiting"),
    running=total("vllm:num_requests_running"),
    # One replica with data-parallel engines: routing inside it is not perfect, so the fullest engine counts. Both names
    # stand on 0.9.2 to 0.10 pages: one is taken, never their sum.
    kv_usage=first_of(largest("vllm:kv_cache_usage_perc"), largest("vllm:gpu_cache_usage_perc")),
    # kv_cache_size_tokens (>= 0.26) is per engine; num_gpu_blocks is the sum over engines, repeated on each series.
    kv_capacity_tokens=first_of(
        label_number("vllm:cache_config_info", "kv_cache_size_tokens", sum),
        times(label_number("vllm:cache_config_info", "num_gpu_blocks", max), _VLLM_BLOCK),
    ),
    # Success counters miss aborts (finished_reason="abort" stays 0), exactly in overload.
    arrivals_counter=total("vllm:time_to_first_token_seconds_count"),
    arrivals_pending=total("vllm:num_requests_waiting"),
    prompt_tokens=total("vllm:prompt_tokens_total"),
    cached_prompt_tokens=first_of(total("vllm:prefix_cache_hits_total"), total("vllm:gpu_prefix_cache_hits_total")),
    generation_tokens=total("vllm:generation_tokens_total"),
    rejected=total("vllm:admission_rejections_total"),
    preemptions=total("vllm:num_preemptions_total"),
    awake=largest("vllm:engine_sleep_state", where("sleep_state", "awake")),
    ttft=histogram("vllm:time_to_first_token_seconds"),
    itl=first_histogram(histogram("vllm:inter_token_latency_seconds"), histogram("vllm:time_per_output_token_seconds")),
    tpot=histogram("vllm:request_time_per_output_token_seconds"),
    prompt_sizes=histogram("vllm:request_prompt_tokens"),
    output_sizes=histogram("vllm:request_generation_tokens"),
    # A histogram despite its name; its upper end is max_num_batched_tokens, which stands nowhere else.
    step_tokens=histogram("vllm:iteration_tokens_total"),
)

# With priority scheduling the total stands at priority="" and per-priority series repeat it.
_ALL_PRIORITIES = unless("priority", *map(str, range(-20, 101)))
_SG_RUNNING = total("sglang:num_running_reqs", _ALL_PRIORITIES)
_SG_QUEUE = plus(total("sglang:num_queue_reqs", _ALL_PRIORITIES), total("sglang:num_grammar_queue_reqs"))
SGLANG = Profile(
    name="sglang",
    marks=("sglang:num_running_reqs", "sglang:num_queue_reqs"),
    port=30000,
    path="/metrics",
    model_label=("sglang:num_running_reqs", "model_name"),
    waiting=_SG_QUEUE,
    running=_SG_RUNNING,
    kv_usage=largest("sglang:token_usage"),
    kv_capacity_tokens=total("sglang:max_total_num_tokens"),
    # Counted at the end of a request: everything inside the server is pending.
    arrivals_counter=total("sglang:num_requests_total"),
    arrivals_pending=plus(_SG_RUNNING, _SG_QUEUE),
    prompt_tokens=total("sglang:prompt_tokens_total"),
    cached_prompt_tokens=total("sglang:cached_tokens_total"),
    generation_tokens=total("sglang:generation_tokens_total"),
    preemptions=total("sglang:num_retracted_requests_total"),
    ttft=histogram("sglang:time_to_first_token_seconds"),
    itl=first_histogram(
        histogram("sglang:inter_token_latency_seconds"), histogram("sglang:time_per_output_token_seconds")
    ),
)

TGI = Profile(
    name="tgi",
    marks=("tgi_request_count", "tgi_queue_size", "tgi_batch_current_size", "tgi_batch_next_size_count"),
    port=3000,
    path="/metrics",
    # A fresh server has no families until their first use.
    waiting=total("tgi_queue_size", absent_is_zero=True),
    running=total("tgi_batch_current_size", absent_is_zero=True),
    kv_capacity_tokens=total("tgi_batch_max_total_tokens"),
    arrivals_counter=total("tgi_request_count", absent_is_zero=True),
    arrivals_pending=constant(0.0),  # counted at arrival
    prompt_tokens=total("tgi_request_input_length_sum", absent_is_zero=True),
    generation_tokens=total("tgi_request_generated_tokens_sum", absent_is_zero=True),
    rejected=total("tgi_request_failure", where("err", "overloaded"), absent_is_zero=True),
    itl=histogram("tgi_request_mean_time_per_token_duration"),
    tpot=histogram("tgi_request_mean_time_per_token_duration"),
)

_TRT_RUNNING = total("trtllm_num_requests_running")
_TRT_WAITING = total("trtllm_num_requests_waiting")
TRTLLM = Profile(
    name="trtllm",
    aliases=("trtllm-serve", "tensorrt-llm"),
    marks=("trtllm_num_requests_running", "trtllm_request_success_total", "trtllm_e2e_request_latency_seconds_count"),
    port=8000,
    path="/prometheus/metrics",  # /metrics is JSON
    model_label=("trtllm_request_success_total", "model_name"),
    waiting=_TRT_WAITING,
    running=_TRT_RUNNING,
    max_running=total("trtllm_max_num_active_requests"),
    kv_usage=largest("trtllm_kv_cache_utilization"),
    kv_capacity_tokens=times(total("trtllm_kv_cache_max_blocks"), largest("trtllm_kv_cache_tokens_per_block")),
    arrivals_counter=total("trtllm_request_success_total"),
    arrivals_pending=plus(_TRT_RUNNING, _TRT_WAITING),
    prompt_tokens=total("trtllm_prompt_tokens_total"),
    generation_tokens=total("trtllm_generation_tokens_total"),
    preemptions=None,
    ttft=histogram("trtllm_time_to_first_token_seconds"),
    itl=histogram("trtllm_time_per_output_token_seconds"),
    tpot=histogram("trtllm_time_per_output_token_seconds"),
)

_TRITON_PENDING = plus(
    total("nv_inference_pending_request_count"),
    total("nv_trt_llm_request_metrics", where("request_type", "waiting")),
)
TRITON = Profile(
    name="triton",
    aliases=("triton-tensorrt-llm", "tensorrtllm-backend"),
    marks=("nv_trt_llm_request_metrics", "nv_inference_request_success"),
    port=8002,
    path="/metrics",
    model_label=("nv_inference_request_success", "model"),
    waiting=_TRITON_PENDING,
    running=total("nv_trt_llm_request_metrics", where("request_type", "scheduled")),
    max_running=total("nv_trt_llm_request_metrics", where("request_type", "max")),
    kv_usage=largest("nv_trt_llm_kv_cache_block_metrics", where("kv_cache_block_type", "fraction")),
    kv_capacity_tokens=times(
        total("nv_trt_llm_kv_cache_block_metrics", where("kv_cache_block_type", "max")),
        largest("nv_trt_llm_kv_cache_block_metrics", where("kv_cache_block_type", "tokens_per")),
    ),
    arrivals_counter=plus(total("nv_inference_request_success"), total("nv_inference_request_failure")),
    arrivals_pending=plus(_TRITON_PENDING, total("nv_trt_llm_request_metrics", where("request_type", "scheduled"))),
    ttft=histogram("nv_inference_first_response_histogram_ms", unit_s=1e-3),
)

LLAMACPP = Profile(
    name="llamacpp",
    aliases=("llama.cpp", "llama-server"),
    marks=("llamacpp:requests_processing", "llamacpp:requests_deferred"),
    port=8080,
    path="/metrics",
    waiting=total("llamacpp:requests_deferred"),
    running=total("llamacpp:requests_processing"),
    kv_usage=largest("llamacpp:kv_cache_usage_ratio"),  # removed in 2025
    # No request counter at all: demand is what is inside, and tokens.
    prompt_tokens=plus(total("llamacpp:prompt_tokens_total"), total("llamacpp:prompt_tokens_cached_total")),
    cached_prompt_tokens=total("llamacpp:prompt_tokens_cached_total"),
    generation_tokens=total("llamacpp:tokens_predicted_total"),
)

LMDEPLOY = Profile(
    name="lmdeploy",
    marks=("lmdeploy:num_requests_running",),
    port=23333,
    path="/metrics",
    model_label=("lmdeploy:num_requests_running", "model_name"),
    waiting=plus(total("lmdeploy:num_requests_waiting"), total("lmdeploy:num_api_requests_waiting")),
    running=total("lmdeploy:num_requests_running"),
    kv_usage=largest("lmdeploy:gpu_cache_usage_perc"),
    arrivals_counter=total("lmdeploy:time_to_first_token_seconds_count"),
    arrivals_pending=plus(total("lmdeploy:num_requests_waiting"), total("lmdeploy:num_api_requests_waiting")),
    prompt_tokens=total("lmdeploy:prompt_tokens_total"),
    generation_tokens=total("lmdeploy:generation_tokens_total"),
    ttft=histogram("lmdeploy:time_to_first_token_seconds"),
    itl=histogram("lmdeploy:iter_token_latency"),  # the name lacks its unit, seconds
)

DYNAMO = Profile(
    name="dynamo",
    aliases=("dynamo-frontend",),
    marks=("dynamo_frontend_requests_started_total", "dynamo_frontend_queued_requests"),
    port=8000,
    path="/metrics",
    model_label=("dynamo_frontend_active_requests", "model"),
    waiting=total("dynamo_frontend_queued_requests"),  # until the first token: prefill included
    running=minus(
        first_of(total("dynamo_frontend_active_requests"), total("dynamo_frontend_inflight_requests")),
        total("dynamo_frontend_queued_requests"),
    ),
    max_running=total("dynamo_frontend_model_max_num_seqs"),
    kv_capacity_tokens=times(
        total("dynamo_frontend_model_total_kv_blocks"), largest("dynamo_frontend_model_kv_cache_block_size")
    ),
    arrivals_counter=total("dynamo_frontend_requests_started_total"),
    arrivals_pending=constant(0.0),
    prompt_tokens=total("dynamo_frontend_input_sequence_tokens_sum"),
    generation_tokens=total("dynamo_frontend_output_tokens_total"),
    ttft=histogram("dynamo_frontend_time_to_first_token_seconds"),
    itl=histogram("dynamo_frontend_inter_token_latency_seconds"),
)

# In order of detection: a Dynamo worker republishes its engine's page and is read as that engine.
PROFILES = (VLLM, SGLANG, LMDEPLOY, TRTLLM, TRITON, TGI, LLAMACPP, DYNAMO)
