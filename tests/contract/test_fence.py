"""The highest token that was seen for a resource: it only rises, on every store."""

from __future__ import annotations

import threading

from tests.contract.harness import Harness, Steering

NOW = 1_795_678_122_411


def test_the_highest_token_that_was_seen_stands(history: Steering) -> None:
    """A higher one is noted, the same one passes, and a lower one is told of the higher."""
    for token, seen in ((NOW, NOW), (NOW, NOW), (NOW + 5, NOW + 5), (NOW, NOW + 5), (1, NOW + 5)):
        assert history.fence("/srv/data", token) == seen


def test_resources_and_namespaces_have_each_their_own(store: Harness, history: Steering) -> None:
    """What was seen for one says nothing of another, whatever its name looks like."""
    names = ["a", "A", "a b", "{a}", "a}b", "ü:*", "s3://bucket/key"]
    for number, name in enumerate(names, 1):
        assert history.fence(name, number) == number
    assert [history.fence(name, 1) for name in names] == list(range(1, len(names) + 1))
    other = store.history(f"{store.namespace}:other")
    try:
        assert other.fence("a", 1) == 1
        assert other.fence("s3://bucket/key", 1) == 1
    finally:
        other.close()


def test_a_resource_is_no_job_and_no_stray(store: Harness, history: Steering) -> None:
    """Nothing that looks for jobs sees it, and nothing that clears up takes it for another's."""
    for name in ("backup", "a}b:{c", "{", "s3://bucket/key"):
        history.fence(name, 7)
    assert history.jobs() == []
    assert history.strays() == []
    assert history.strays(f"{store.namespace}:*") == []
    history.reset("backup")
    assert history.fence("backup", 1) == 7


def test_of_many_at_once_the_highest_stands(store: Harness, history: Steering) -> None:
    """Each learns of one that is not lower than its own, and no answer undoes another."""
    answers: dict[int, int] = {}

    def ask(token: int) -> None:
        own = store.history()
        try:
            answers[token] = own.fence("data", token)
        finally:
            own.close()

    threads = [threading.Thread(target=ask, args=(token,)) for token in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == list(range(1, 9))
    assert all(seen >= token for token, seen in answers.items())
    assert history.fence("data", 1) == 8
