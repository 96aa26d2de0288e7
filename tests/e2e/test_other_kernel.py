"""What takes controllers of cgroup v2, under a kernel that has them: user-mode-linux, on this host.

It boots in seconds on the host's own files, which it may only read. What is said on its console is
what the test sees.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.e2e.conftest import Place
from tests.process.conftest import NOBODY
from tests.process.places import interpreter_for
from tests.servers import die_with_us
from tests.shape import source

KERNEL = shutil.which("linux.uml")
LONGEST_S = 120
AWHILE = ["timeout", "-s", "KILL", str(LONGEST_S), "unshare", "--pid", "--fork", "--kill-child"]
"""In a namespace, as the kernel has helpers that outlive it, and would hold its console open."""
BEGIN = """#!/bin/sh
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
export HOME=/run PATH=/usr/sbin:/usr/bin:/sbin:/bin PYTHONPATH={root} PYTHONDONTWRITEBYTECODE=1
export CRONGUARD_STATE_DIR=/run/state
cronguard() {{ {python} -m cronguard "$@"; }}
{script}
echo THE-END
halt -f
"""
READ = """
import json
from cronguard.stores.open import open_history
history = open_history("sqlite:///run/other/cronguard.db", "cg")
print(json.dumps(history.runs("other", 1)[0]))
history.close()
"""
GREEDY = "x = bytearray(300_000_000)"
SPIN = """
import time
own = [line[3:].strip() for line in open("/proc/self/cgroup") if line.startswith("0::")][0]
end = time.monotonic() + 1
while time.monotonic() < end:
    pass
for name in ("cpu.max", "cpu.stat"):
    for line in open(f"/sys/fs/cgroup{own}/{name}"):
        print(name, line.strip())
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.variant,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(KERNEL is None, reason="needs Debian's package user-mode-linux"),
]


def boot(place: Place, script: str) -> list[str]:
    """Run *script* as root under that kernel; return the lines that it says."""
    assert KERNEL is not None
    init = place.folder / "init"
    text = BEGIN.format(root=source.ROOT, python=sys.executable, script=script)
    init.write_text(text)
    init.chmod(0o755)
    argv = [KERNEL, "mem=768M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet"]
    done = subprocess.run(
        [*AWHILE, *argv, "con=null", "con0=fd:0,fd:1"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env=place.env | {"HOME": str(place.folder), "TMPDIR": str(place.folder)},
        preexec_fn=die_with_us,
    )
    lines = done.stdout.splitlines()
    assert "THE-END" in lines, done.stdout[-3_000:] + done.stderr[-1_000:]
    return lines


def objects(lines: list[str]) -> list[dict[str, object]]:
    """Return the JSON objects among them, one a line."""
    return [json.loads(line) for line in lines if line.startswith("{")]


def test_memory_and_time_are_limited_and_the_record_says_so(place: Place) -> None:
    """By the kernel; at the top for root below others' processes, and in a group of one's own."""
    show = "cronguard show {} --json | tr -d '\\n'; echo"
    greedy = f"{sys.executable} -c '{GREEDY}'"
    inside = "sh -c 'echo $$ > /sys/fs/cgroup/unit/cgroup.procs; exec \"$@\"' sh"
    around = inside.replace("/unit/", "/around/unit/")
    script = "\n".join([
        # In the root group, where a shell is as well: a group for all jobs is made at the top.
        "mkdir /sys/fs/cgroup/shell; echo $$ > /sys/fs/cgroup/shell/cgroup.procs",
        f"cronguard run -n greedy --memory-max 64M -- {greedy}",
        "echo status $?",
        show.format("greedy"),
        f"cronguard run -n modest --memory-max 64M -- {sys.executable} -c 'print(1)'",
        "echo status $?",
        f"cronguard run -n again --memory-max 64M --retries 1 --retry-delay 1ms -- {greedy}",
        show.format("again"),
        f"cat > /run/spin <<'EOF'\n{SPIN}\nEOF",
        f"cronguard run -n spin --cpu-quota 20% -- {sys.executable} /run/spin",
        show.format("spin"),
        f"cronguard run -n apart --isolation pidns --memory-max 64M -- {greedy}",
        show.format("apart"),
        "find /sys/fs/cgroup/cronguard -mindepth 1 -type d",
        # As with Delegate=yes: nobody else is in our group, which may be divided.
        "mkdir /sys/fs/cgroup/unit",
        f"{inside} {sys.executable} -m cronguard run -n unit --memory-max 64M -- {greedy}",
        show.format("unit"),
        "find /sys/fs/cgroup/unit -mindepth 1 -type d",
        "cat /sys/fs/cgroup/unit/cgroup.subtree_control",
        "cronguard why greedy",
        # The limit at fault is that of a group around ours.
        "mkdir /sys/fs/cgroup/around /sys/fs/cgroup/around/unit",
        "echo +memory > /sys/fs/cgroup/around/cgroup.subtree_control",
        "echo 80M > /sys/fs/cgroup/around/memory.max",
        f"{around} {sys.executable} -m cronguard run -n around --memory-max 250M -- {greedy}",
        show.format("around"),
    ])  # fmt: skip
    lines = boot(place, script)
    assert [line for line in lines if line.startswith("status ")] == ["status 137", "status 0"]
    greedy_run, again, spin, apart, unit, outer = objects(lines)
    for record in (greedy_run, again, apart, unit, outer):
        assert (record["outcome"], record["reason"]) == ("failed", "oom_killed"), record
        assert record["exit_status"] == 137
        size = 250 if record is outer else 64
        assert record["limits"] == {"memory_max_bytes": size << 20}
        assert record["warnings"] is None
    attempts = again["attempts"]
    assert isinstance(attempts, list)
    assert len(attempts) == 2, "another attempt has another group"
    assert spin["outcome"] == "succeeded"
    assert spin["limits"] == {"cpu_quota_percent": 20}
    assert "cpu.max 20000 100000" in lines
    (held_back,) = [line for line in lines if line.startswith("cpu.stat nr_throttled ")]
    assert int(held_back.split()[-1]) > 0, "the kernel made it wait"
    assert not [line for line in lines if line.startswith("/sys/fs/cgroup/")], "nothing is left"
    assert any("for want of memory" in line for line in lines)
    assert any("greedy: killed by the kernel, as --memory-max (64M)" in line for line in lines)
    assert any("around: killed by the kernel, as this host, or a group" in line for line in lines)


def test_what_stragglers_leaves_is_let_go_of_and_its_group_removed(place: Place) -> None:
    """P7: what lives on is as it would be without us, and so is the group that we were in."""
    run = "run -n leaver --stragglers leave --memory-max 64M -- sh /run/leave"
    script = f"""
mkdir /sys/fs/cgroup/unit
echo 'sleep 600 > /dev/null 2>&1 & echo $! > /run/pid' > /run/leave
sh -c 'echo $$ > /sys/fs/cgroup/unit/cgroup.procs; exec "$@"' sh {sys.executable} -m cronguard {run}
echo status $?
grep :: /proc/$(cat /run/pid)/cgroup
find /sys/fs/cgroup/unit -mindepth 1 -type d
cat /sys/fs/cgroup/unit/cgroup.subtree_control
"""
    lines = boot(place, script)
    at = lines.index("status 0")
    assert lines[at + 1 : at + 3] == ["0::/unit", "THE-END"], lines[at:]


def test_a_group_that_cannot_be_used_is_warned_of(place: Place) -> None:
    """An ordinary user in a group of root's that could be divided: the run goes on without."""
    python = interpreter_for(NOBODY)
    if python is None:
        pytest.skip("an ordinary user can execute no Python here")
    script = f"""
echo '+memory +cpu' > /sys/fs/cgroup/cgroup.subtree_control
mkdir -m 700 /run/other; chown {NOBODY}:{NOBODY} /run/other
other() {{ setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {python} "$@"; }}
CRONGUARD_STATE_DIR=/run/other other -m cronguard \\
    run -n other --memory-max 64M --nice 3 -- sh -c 'nice; exit 7'
echo status $?
other -c '{READ}'
# Root has the kernel's own root group for that, where others may be as well.
cronguard run -n own --cpu-quota 50% -- \\
    sh -c 'cat /sys/fs/cgroup$(sed s/0::// /proc/self/cgroup)/cpu.max'
find /sys/fs/cgroup -mindepth 1 -type d
"""
    lines = boot(place, script)
    assert "status 7" in lines, "\n".join(lines[-30:])
    assert any("other: runs without --memory-max: no group can be used" in one for one in lines)
    [record] = objects(lines)
    assert record["limits"] == {"nice": 3, "unmet": ["memory_max_bytes"]}
    assert "3" in lines
    assert "50000 100000" in lines
    assert not [line for line in lines if line.startswith("/sys/fs/cgroup/")], "nothing is left"


def test_an_ordinary_user_has_limits_in_a_group_of_his_own(place: Place) -> None:
    """As with Delegate=yes and User=; while others are in it, the run goes on and warns."""
    python = interpreter_for(NOBODY)
    if python is None:
        pytest.skip("an ordinary user can execute no Python here")
    script = f"""
mkdir -m 700 /run/other; chown {NOBODY}:{NOBODY} /run/other
echo '+memory +cpu' > /sys/fs/cgroup/cgroup.subtree_control
unit=/sys/fs/cgroup/unit; mkdir $unit
chown {NOBODY}:{NOBODY} $unit $unit/cgroup.procs $unit/cgroup.subtree_control
user="setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups env CRONGUARD_STATE_DIR=/run/other"
run="$user {python} -m cronguard run --memory-max 64M --cpu-quota 50% -n"
sh -c 'echo $$ > '$unit'/cgroup.procs; exec "$@"' sh $run alone -- {python} -c '{GREEDY}'
echo status $?
find $unit -mindepth 1 -type d
cat $unit/cgroup.subtree_control
sh -c 'echo $$ > '$unit'/cgroup.procs; "$@"; echo status $?' sh $run beside -- true
find $unit -mindepth 1 -type d
"""
    lines = boot(place, script)
    assert [line for line in lines if line.startswith("status ")] == ["status 137", "status 0"]
    said = "\n".join(lines)
    assert "alone: killed by the kernel, as --memory-max (64M) had no memory left" in said
    assert "beside: runs without --memory-max and --cpu-quota: others are in" in said
    assert "alone: runs without" not in said
    left = lines[lines.index("status 137") + 1 :]
    assert not [line for line in left if line.startswith(("/sys/fs/cgroup/", "cpu ", "memory"))]


def test_the_files_of_the_host_cannot_be_changed_from_there(place: Place) -> None:
    """Or a test could do harm."""
    lines = boot(place, f"touch {place.folder}/x || echo refused")
    assert "refused" in lines
