"""Limits of memory and time hold, whoever is below them and whatever dies."""

from __future__ import annotations

import sys

from tests.e2e import test_other_kernel as kernel
from tests.e2e.conftest import Place

pytestmark = kernel.pytestmark
NEVER = "x = bytearray(200_000_000); print('ATE')"


def test_a_run_below_another_does_not_get_out_of_its_limits(place: Place) -> None:
    """P12: nor out of the control group that kills it; it warns, and goes on within them."""
    inner = f"{sys.executable} -m cronguard run -n $1 --memory-max 500M -- "
    (place.folder / "eats").write_text(f'{inner} {sys.executable} -c "{NEVER}"\n')
    (place.folder / "where").write_text(
        f"grep :: /proc/self/cgroup\n{inner} grep :: /proc/self/cgroup\n"
    )
    script = f"""
mkdir /sys/fs/cgroup/cron; echo $$ > /sys/fs/cgroup/cron/cgroup.procs
cronguard run -n outer --memory-max 64M -- sh {place.folder}/eats a
cronguard run -n outer --memory-max 64M -- sh {place.folder}/where b
cronguard run -n net --isolation cgroup -- sh {place.folder}/where c
find /sys/fs/cgroup -mindepth 2 -name 'cronguard-*'
"""
    lines = kernel.boot(place, script)
    assert "ATE" not in lines, lines
    outer, inner, net, innet = [line for line in lines if line.startswith("0::")]
    assert outer.startswith("0::/cronguard/cronguard-")
    assert (inner, innet) == (outer, net)
    assert any("and it is another run's" in line for line in lines), lines
    assert not [line for line in lines if line.startswith("/sys/fs/cgroup/")], "nothing is left"


def test_a_keeper_that_is_killed_leaves_its_group_as_it_was(place: Place) -> None:
    """Its guardian puts it in order; what comes next in there can be there."""
    script = f"""
echo +memory > /sys/fs/cgroup/cgroup.subtree_control
mkdir /sys/fs/cgroup/unit
echo 'echo $PPID > /run/guardian; echo > /run/up; exec sleep 600' > /run/job
sh -c 'echo $$ > /sys/fs/cgroup/unit/cgroup.procs; exec "$@"' sh {sys.executable} -m cronguard \\
    run -n job --memory-max 64M -- sh /run/job &
keeper=$!
until [ -e /run/up ] || ! kill -0 $keeper; do sleep 0.1; done
ls /sys/fs/cgroup/unit | grep -q keeper && echo aside
kill -9 $keeper
while kill -0 $(cat /run/guardian) 2> /dev/null; do sleep 0.1; done
find /sys/fs/cgroup/unit -mindepth 1 -type d
echo given: $(cat /sys/fs/cgroup/unit/cgroup.subtree_control)
sh -c 'echo $$ > /sys/fs/cgroup/unit/cgroup.procs && echo entered'
"""
    lines = kernel.boot(place, script)
    assert "aside" in lines, lines
    assert not [line for line in lines if line.startswith("/sys/fs/cgroup/")], "nothing is left"
    assert "given:" in lines
    assert "entered" in lines
