"""Annotations on a ScaledObject speak the words of trigger metadata, behind one prefix."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.config.annotations import over, read_annotations
from autoscaler.config.metadata import read_trigger
from autoscaler.config.records import Overrides
from autoscaler.core.errors import ConfigError
from autoscaler.core.records import ServiceMode

OVERRIDES = st.builds(
    Overrides,
    ttft_s=st.none() | st.floats(0.1, 10),
    min_replicas=st.none() | st.integers(0, 9),
    wake_source=st.none(),
    metrics_port=st.none() | st.integers(1, 65_535),
)


def test_the_same_keys_mean_the_same_in_metadata_and_in_annotations() -> None:
    words = {"ttftSeconds": "2", "role": "decode", "wakeSource": "gw", "metricsPort": "9000", "target": "chat"}
    noted = read_annotations({f"llm-autoscaler.io/{key}": value for key, value in words.items()})
    assert noted.trigger == read_trigger(words)
    assert noted.mode is None


def test_annotations_of_others_are_none_of_ours() -> None:
    noted = read_annotations({"autoscaling.keda.sh/paused": "true", "ttftSeconds": "fast"})
    assert noted.trigger.overrides == Overrides()
    assert noted.trigger.warnings == ()


def test_shadow_may_be_said_in_an_annotation_and_in_no_trigger() -> None:
    assert read_annotations({"llm-autoscaler.io/mode": "shadow"}).mode is ServiceMode.SHADOW
    with pytest.raises(ConfigError):
        read_trigger({"mode": "shadow"})


def test_a_wrong_value_and_a_wrong_mode_are_told_together_with_the_whole_key() -> None:
    with pytest.raises(ConfigError) as caught:
        read_annotations({"llm-autoscaler.io/mode": "maybe", "llm-autoscaler.io/attainment": "2"})
    assert {one.path for one in caught.value.problems} == {"llm-autoscaler.io/mode", "llm-autoscaler.io/attainment"}


def test_a_misspelt_annotation_is_a_warning_with_the_nearest_name() -> None:
    (warning,) = read_annotations({"llm-autoscaler.io/ttftSecond": "2"}).trigger.warnings
    assert warning == "annotation 'llm-autoscaler.io/ttftSecond' is unknown and ignored; did you mean 'ttftSeconds'?"


def test_an_annotation_never_names_what_opens_doors() -> None:
    with pytest.raises(ConfigError, match="targets file"):
        read_annotations({"llm-autoscaler.io/url": "http://metadata/"})


@given(OVERRIDES, OVERRIDES)
def test_what_is_laid_over_wins_where_it_says_something_and_nowhere_else(low: Overrides, high: Overrides) -> None:
    both = over(low, high)
    for field in fields(Overrides):
        if field.name not in ("wake_source", "wake_source_none"):
            said = getattr(high, field.name)
            assert getattr(both, field.name) == (said if said is not None else getattr(low, field.name))


def test_a_named_wake_source_and_the_word_none_replace_one_another() -> None:
    none, gateway = Overrides(wake_source_none=True), Overrides(wake_source="gw")
    assert over(none, gateway) == gateway
    assert over(gateway, none) == none
    assert over(gateway, Overrides()) == gateway
    assert over(none, Overrides()) == none
