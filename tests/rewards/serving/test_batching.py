"""Requests are put together, each gets its own rows back, and what one did wrong is told to it alone."""

import asyncio
import threading

import pytest

from rewards.serving.batching import Batcher


def run(reward, *requests, most=64):
    """What each request got: its rewards, or the error; and how often the reward was called."""

    async def work():
        batcher = Batcher(reward, most)
        task = asyncio.create_task(batcher.run())
        waiting = [batcher.score(*request) for request in requests]
        found = await asyncio.gather(*waiting, return_exceptions=True)
        task.cancel()
        return found, batcher.calls

    return asyncio.run(work())


def lengths(prompts, completions, **columns):
    return [float(len(completion)) for completion in completions]


def test_each_gets_its_own_rows():
    requests = [(["p"] * n, ["x" * n] * n, {}) for n in (1, 3, 2)]
    found, calls = run(lengths, *requests)
    assert found == [[1.0], [3.0] * 3, [2.0] * 2]
    assert calls == 1


@pytest.mark.parametrize("most, calls", [(1, 4), (2, 2), (3, 2), (4, 1), (64, 1)])
def test_a_call_has_at_most_so_many_rows(most, calls):
    assert run(lengths, *[(["p"], ["x"], {})] * 4, most=most)[1] == calls


def test_a_request_of_more_rows_has_a_call_of_its_own():
    found, calls = run(lengths, (["p"] * 5, ["x"] * 5, {}), (["p"], ["x"], {}), most=2)
    assert (found, calls) == ([[1.0] * 5, [1.0]], 2)


def test_other_columns_are_another_call():
    def column(prompts, completions, **columns):
        return [float(sum(values)) for values in zip(*columns.values())] or [0.0] * len(prompts)

    requests = [(["p"], ["x"], {"a": [1], "b": [2]}), (["p"], ["x"], {}), (["p"], ["x"], {"b": [5], "a": [7]})]
    found, calls = run(column, *requests)
    assert (found, calls) == ([[3.0], [0.0], [12.0]], 2)


def test_what_one_did_wrong_is_told_to_it_alone():
    def picky(prompts, completions, **_):
        if "" in completions:
            raise ValueError("an empty response")
        return lengths(prompts, completions)

    found, _ = run(picky, (["p"], ["x"], {}), (["p"], [""], {}), (["p"], ["xx"], {}))
    assert (found[0], found[2]) == ([1.0], [2.0])
    assert str(found[1]) == "an empty response"


def test_a_reward_that_gives_too_few_values_is_an_error():
    found, _ = run(lambda prompts, completions: [1.0], (["p"] * 2, ["x"] * 2, {}))
    assert "1 values for 2 responses" in str(found[0])


def test_who_has_gone_costs_nothing():
    begun, go = threading.Event(), threading.Event()
    seen = []

    def slow(prompts, completions):
        seen.append(list(completions))
        begun.set()
        go.wait()
        return lengths(prompts, completions)

    async def work():
        batcher = Batcher(slow)
        task = asyncio.create_task(batcher.run())
        first = asyncio.create_task(batcher.score(["p"], ["first"], {}))
        await asyncio.to_thread(begun.wait)
        gone = asyncio.create_task(batcher.score(["p"], ["gone"], {}))
        last = asyncio.create_task(batcher.score(["p"], ["last"], {}))
        await asyncio.sleep(0)
        gone.cancel()
        first.cancel()  # while it is being scored
        await asyncio.sleep(0)
        go.set()
        assert await last == [4.0]
        task.cancel()

    asyncio.run(work())
    assert seen == [["first"], ["last"]]
