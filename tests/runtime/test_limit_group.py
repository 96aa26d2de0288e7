"""Whose a control group is, told from its path: a run's, or somebody's whose name is like one."""

from __future__ import annotations

import pytest

from cronguard.runtime.launch import Hold
from cronguard.runtime.limit_group import is_of_a_run


@pytest.mark.parametrize("below", ["", "/deeper", "/cronguard-7-keeper"])
def test_a_group_of_a_run_is_known_by_its_name(below: str) -> None:
    """The one that launch.py names, and what is below it."""
    assert is_of_a_run(f"/sys/fs/cgroup/cronguard/{Hold('cgroup').cage}{below}")


@pytest.mark.parametrize(
    "name",
    [
        *("", "cronguard", "cron.service", "cronguard@backup.service", "cronguard-backup.service"),
        *("cronguard-7-keeper", "cronguard-7", "cronguard-7-backup-1", "my-cronguard-7-0123abcd"),
    ],
)
def test_other_groups_are_not_taken_for_one(name: str) -> None:
    """Or a run in a unit that happens to be called so would go without its limits."""
    assert not is_of_a_run(f"/sys/fs/cgroup/system.slice/{name}")
