"""Parts worked on by threads come back in order, and the caller's own number of torch threads stays."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from mumei.core.threads import in_order, torch_pool


def test_results_come_in_the_order_of_the_items():
    def work(i: int) -> int:
        time.sleep(0.002 * (5 - i % 5))
        return i * i

    assert list(in_order(torch_pool(2), work, range(23), ahead=4)) == [i * i for i in range(23)]
    assert list(in_order(torch_pool(2), work, [], ahead=4)) == []


def test_each_worker_has_one_torch_thread_and_the_caller_keeps_its_number():
    before = torch.get_num_threads()
    assert set(in_order(torch_pool(3), lambda _: torch.get_num_threads(), range(12), ahead=6)) == {1}
    assert torch.get_num_threads() == before
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [before]


def test_no_more_than_asked_for_are_begun_before_they_are_taken():
    taken: list[int] = []

    def items():
        for i in range(50):
            taken.append(i)
            yield i

    results = in_order(torch_pool(2), lambda i: i, items(), ahead=3)
    next(results)
    assert len(taken) == 3


def test_a_failing_part_is_raised_where_it_is_taken():
    def work(i: int) -> float:
        return 1 / (2 - i)

    results = in_order(torch_pool(2), work, range(9), ahead=3)
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)
