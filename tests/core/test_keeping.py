"""What is kept on the way down, and what is no reason to keep anything any more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.core.keeping import MIND_S, Keeping, count


def test_what_was_wanted_stays_for_as_long_as_a_surplus_replica_is_kept() -> None:
    keeping = Keeping()
    assert keeping.most(0.0, 33, 0, 5, 540.0) == 33
    assert keeping.most(540.0, 5, 0, 5, 540.0) == 33
    assert keeping.most(541.0, 5, 0, 5, 540.0) == 5


def test_time_in_which_nobody_watched_is_no_time_in_which_it_was_surplus() -> None:
    keeping = Keeping()
    assert keeping.most(0.0, 3, 0, 2, 540.0) == 3
    keeping.delay(300.0)
    assert keeping.most(840.0, 2, 0, 2, 540.0) == 3
    assert keeping.most(841.0, 2, 0, 2, 540.0) == 2


def test_what_a_rule_wanted_that_was_left_is_no_reason_to_keep_it() -> None:
    # Azure 2023 code: one burst made the usual rule ask for 33; its successor would have wanted 19, and kept 33 for
    # 15 minutes of a trace of 30: 60 GPU-hours instead of 47.
    keeping = Keeping()
    keeping.most(0.0, 33, 0, 33, 540.0)
    assert keeping.most(100.0, 12, 2, 19, 870.0) == 33  # within four minutes: not with every change of mind
    assert keeping.most(MIND_S + 1.0, 12, 2, 19, 870.0) == 19


def test_what_the_successor_wanted_itself_is_kept_as_ever() -> None:
    keeping = Keeping()
    keeping.most(0.0, 33, 0, 33, 540.0)
    keeping.most(10.0, 20, 2, 20, 870.0)
    keeping.most(400.0, 9, 2, 20, 870.0)
    assert keeping.most(860.0, 9, 2, 20, 870.0) == 20


@given(st.lists(st.tuples(st.integers(1, 60), st.integers(0, 2), st.integers(1, 60)), min_size=1, max_size=60))
def test_never_less_than_is_wanted_now_nor_more_than_was_ever_wanted(
    wishes: list[tuple[int, int, int]],
) -> None:
    keeping, most = Keeping(), 0
    for place, (wanted, followed, successor) in enumerate(wishes):
        most = max(most, wanted)
        assert wanted <= keeping.most(30.0 * place, wanted, followed, successor, 540.0) <= most


def test_a_count_is_rounded_as_its_rule_says() -> None:
    assert (count(9.99, 2.0, 0.999), count(10.0, 2.0, 0.999), count(10.01, 2.0, 0.999)) == (5, 5, 6)
