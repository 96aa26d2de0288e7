"""systemd itself runs the units: it boots as PID 1 of namespaces of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Place
from tests.process.lab import is_alive, until
from tests.servers import die_with_us
from tests.shape import readme, source

SYSTEMD = Path("/lib/systemd/systemd")
LAB = ["unshare", "--pid", "--fork", "--mount", "--cgroup", "--uts", "--ipc", "--kill-child"]
# Private folders first: systemd cleans, and writes into, what it takes for its own.
INSIDE = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
units="$1/units"
mount -t tmpfs tmpfs /mnt
count=0
for kept in "$@"; do
    count=$((count + 1))
    mkdir "/mnt/$count"
    mount --bind "$kept" "/mnt/$count"
done
for folder in /tmp /run /var/tmp /var/log /var/lib/systemd /etc/systemd/system; do
    mount -t tmpfs tmpfs "$folder"
done
count=0
for kept in "$@"; do
    count=$((count + 1))
    mkdir -p "$kept"
    mount --bind "/mnt/$count" "$kept"
done
mkdir -p /run/systemd/system
cp "$units"/* /run/systemd/system
for unit in systemd-tmpfiles-setup systemd-tmpfiles-setup-dev systemd-tmpfiles-clean \
    systemd-udevd systemd-udev-trigger systemd-networkd systemd-resolved systemd-timesyncd \
    systemd-journal-flush systemd-update-utmp systemd-random-seed; do
    ln -s /dev/null "/run/systemd/system/$unit.service"
done
unset NOTIFY_SOCKET
export container=lab
exec /lib/systemd/systemd --system --unit=lab.target --log-target=null --show-status=0
"""
NOTIFYING = {
    "deaf": "ExecStart=/usr/bin/cronguard run --name deaf\nTimeoutStopSec=1s\n",
    "waits": "ExecStart=/usr/bin/cronguard run --name deaf --wait 4s\nTimeoutStartSec=1s\n",
    "hung": "ExecStart=/usr/bin/cronguard run --name hung\nWatchdogSec=2s\n",
    "queues": (
        "ExecStart=/usr/bin/cronguard run --name long --wait forever -- true\n"
        "TimeoutStartSec=1s\nWatchdogSec=1s\n"
    ),
    "held": "ExecStart=/usr/bin/cronguard run --name long -- true\n",
    "away": (
        "ExecStart=/usr/bin/cronguard run --name away --store redis://127.0.0.1:1 "
        "--store-timeout 4s --on-store-error run -- sleep 600\nTimeoutStartSec=1s\nWatchdogSec=1s\n"
    ),
    "told": (
        "ExecStart=/usr/bin/cronguard run --name told --report hook -- true\n"
        "TimeoutStopSec=1s\nWatchdogSec=1s\n"
    ),
    "again": (
        "ExecStart=/usr/bin/cronguard run --name again --ttl 10s --wait 1m -- sleep 600\n"
        "WatchdogSec=2s\nRestart=on-watchdog\n"
    ),
    "script": (
        "ExecStart=/bin/sh -c 'cd / && exec /usr/bin/cronguard run --name script -- sleep 600'\n"
    ),
    "compound": (
        "ExecStart=/bin/sh -c '/usr/bin/cronguard run --name compound -- true; exec sleep 600'\n"
        "TimeoutStartSec=2s\nNotifyAccess=all\n"
    ),
}
"""Units that are told how runs stand; with less patience than these runs take."""
BUSY = ("activating", "active", "deactivating")
TARGET = "[Unit]\nDescription=lab\nAllowIsolate=yes\n"

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(not SYSTEMD.exists(), reason="needs Debian's package systemd"),
]


class Host:
    """A systemd that runs, and how to speak to it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        # What would be hidden by the private folders, and is needed there.
        needed = [str(place.folder), str(source.ROOT), sys.prefix]
        kept = [path for path in needed if path.startswith(("/tmp/", "/run/", "/var/"))]
        argv = [*LAB, "/bin/sh", "-c", INSIDE, "sh", *kept]
        self.outside = subprocess.Popen(
            argv, env=place.env, stdin=subprocess.DEVNULL, preexec_fn=die_with_us
        )
        place.started.append(self.outside)
        children = Path(f"/proc/{self.outside.pid}/task/{self.outside.pid}/children")
        self.pid = str(until("the first process", lambda: children.read_text().split()[:1])[0])  # type: ignore[index]
        until(
            "systemd",
            lambda: self.do("is-system-running").stdout.strip() in ("running", "degraded"),
        )

    def do(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run `systemctl WORDS` there."""
        return subprocess.run(
            ["nsenter", "-t", self.pid, "-p", "-m", "-C", "-u", "-i", "systemctl", *words],
            capture_output=True,
            text=True,
            timeout=60,
        )

    def property(self, unit: str, name: str) -> str:
        """Return one property of a unit."""
        return self.do("show", "--value", "-p", name, unit).stdout.strip()


@pytest.fixture
def host(place: Place) -> Iterator[Host]:
    """A systemd with the project's units, the README's, and jobs to run."""
    units = place.folder / "units"
    units.mkdir()
    for name in ("cronguard@.service", "cronguard@.timer"):
        text = source.read(f"systemd/{name}").replace("/usr/bin/cronguard", place.cronguard)
        (units / name).write_text(text)
    drop_in = units / "cronguard@.service"
    environment = f"Environment=CRONGUARD_STATE_DIR={place.state} LAB_MARK={place.mark}\n"
    environment += f"Environment=CRONGUARD_CONFIG={place.folder}/c.toml\n"
    drop_in.write_text(drop_in.read_text() + environment)
    (units / "lab.target").write_text(TARGET)
    for name, service in NOTIFYING.items():
        text = f"[Service]\n{readme.block('ini', 'Type=notify').text}{service}"
        text = text.replace("/usr/bin/cronguard", place.cronguard)
        (units / f"{name}.service").write_text(
            text.replace("FOLDER", str(place.folder)) + environment
        )
    tree = "setsid -f sleep 600; (sleep 600 &); echo up > up; exec sleep 600"
    place.script("bin/deaf", f"#!/bin/sh\ncd {place.folder}\ntrap '' TERM\n{tree}\n")
    place.script("bin/tree", f"#!/bin/sh\ncd {place.folder}\n{tree}\n")
    config = place.folder / "c.toml"
    config.write_text(
        '[jobs.backup]\ncommand = "exit 0"\n'
        '[jobs.wrong]\ncommand = "exit 7"\n'
        f'[jobs.slow]\ncommand = ["{place.folder}/bin/tree"]\ntimeout = "300ms"\n'
        f'[jobs.long]\ncommand = ["{place.folder}/bin/tree"]\n'
        f'[jobs.hung]\ncommand = ["{place.folder}/bin/tree"]\n'
        f'[jobs.deaf]\ncommand = ["{place.folder}/bin/deaf"]\nkill_after = "4s"\n'
        '[jobs.told]\nreport_timeout = "30s"\n'
        '[reporters.hook]\ntype = "command"\ntimeout = "20s"\n'
        f'on_success = "sleep 4; echo told > {place.folder}/told"\n'
    )
    config.chmod(0o600)
    found = Host(place)
    yield found
    found.outside.kill()
    found.outside.wait()


def test_systemd_runs_stops_and_judges_jobs(host: Host) -> None:
    """Success, failure, timeout and stop, by the unit as it is shipped and the README's words."""
    place = host.place
    for line in readme.block("systemctl").lines:
        done = host.do(*line.split()[1:])
        assert done.returncode == 0, f"{line}: {done.stderr}"
    assert place.records("backup")[0]["outcome"] == "succeeded"
    assert host.property("cronguard@backup.timer", "ActiveState") == "active"

    assert host.do("start", "cronguard@wrong.service").returncode == 1
    assert host.property("cronguard@wrong.service", "ExecMainStatus") == "7"

    assert host.do("start", "cronguard@slow.service").returncode == 1
    assert host.property("cronguard@slow.service", "ExecMainStatus") == "124"
    assert place.records("slow")[0]["outcome"] == "timed_out"
    assert host.property("cronguard@slow.service", "TasksCurrent") in ("0", "[not set]")

    (place.folder / "up").unlink()
    assert host.do("start", "--no-block", "cronguard@long.service").returncode == 0
    until("the job's tree", lambda: place.said("up"))
    keeper = host.property("cronguard@long.service", "MainPID")
    assert host.do("stop", "cronguard@long.service").returncode == 0
    assert host.property("cronguard@long.service", "ActiveState") == "inactive", "and not failed"
    record = place.records("long")[0]
    assert (record["outcome"], record["reason"], record["signal"]) == ("stopped", "signal", 15)
    assert record["exit_status"] == 143
    assert keeper != "0"
    until("that nothing is left", lambda: not [p for p in place.marked() if is_sleep(p)])


def test_systemd_hears_how_a_run_stands(host: Host) -> None:
    """Active from the command's start; the status; a grace beyond its patience; a hung keeper."""
    place = host.place
    assert host.do("start", "deaf.service").returncode == 0
    until("the command runs", lambda: place.said("up"))
    assert host.property("deaf.service", "ActiveState") == "active"
    status = host.property("deaf.service", "StatusText")
    assert status.startswith("holding the lock for "), status

    # -- another run of the job waits for longer than systemd would, and is skipped in the end
    assert host.do("start", "waits.service").returncode == 0
    assert place.skips("deaf")[0]["reason"] == "wait_expired"
    until("it ended", lambda: host.property("waits.service", "ActiveState") == "inactive")
    assert host.property("waits.service", "Result") == "success"

    # -- TimeoutStopSec is 1 s, the grace 4 s, and the command deaf to TERM
    assert host.do("stop", "deaf.service").returncode == 0
    assert host.property("deaf.service", "Result") == "success", "systemd did not lose patience"
    record = place.records("deaf")[0]
    assert (record["outcome"], record["exit_status"]) == ("stopped", 143)
    until("that nothing is left", lambda: not [p for p in place.marked() if is_sleep(p)])

    # -- a keeper that hangs
    (place.folder / "up").unlink()
    assert host.do("start", "hung.service").returncode == 0
    keeper = host.property("hung.service", "MainPID")
    host.do("kill", "--kill-who=main", "--signal=STOP", "hung.service")
    until("the watchdog", lambda: host.property("hung.service", "ActiveState") == "failed")
    assert host.property("hung.service", "Result") == "watchdog"
    assert place.records("hung")[0]["outcome"] == "running", "until the next run, or clean, looks"
    until("that nothing is left", lambda: not [p for p in place.marked() if is_sleep(p)])
    assert keeper != "0"


def test_systemd_is_patient_as_long_as_somebody_works(host: Host) -> None:
    """In the queue, for a store that is away, for reports; a skip is no failure, nor is a stop."""
    place = host.place
    assert host.do("start", "--no-block", "cronguard@long.service").returncode == 0
    until("the job's tree", lambda: place.said("up"))

    # -- held: started, skipped, and well
    assert host.do("start", "held.service").returncode == 0
    until("it ended", lambda: host.property("held.service", "ActiveState") == "inactive")
    assert host.property("held.service", "Result") == "success"
    assert place.skips("long")[0]["reason"] == "held"

    # -- in the queue for longer than TimeoutStartSec and WatchdogSec, then stopped there
    assert host.do("start", "--no-block", "queues.service").returncode == 0
    status = f"waiting for the lock, held by {os.uname().nodename}, pid "
    until("it says so", lambda: host.property("queues.service", "StatusText").startswith(status))
    until("it is late", lambda: lasted(host, "queues.service") > 3)
    assert host.property("queues.service", "ActiveState") == "activating"
    assert host.do("stop", "queues.service").returncode == 0
    assert host.property("queues.service", "Result") == "success"
    assert host.do("stop", "cronguard@long.service").returncode == 0

    # -- a store that is away for longer than both
    assert host.do("start", "away.service").returncode == 0
    assert host.property("away.service", "StatusText").startswith("running unguarded for ")
    assert host.do("stop", "away.service").returncode == 0

    # -- a report that takes longer than TimeoutStopSec and WatchdogSec
    assert host.do("start", "told.service").returncode == 0
    until("it ended", lambda: host.property("told.service", "ActiveState") not in BUSY)
    assert host.property("told.service", "Result") == "success"
    assert place.said("told")


def test_systemd_starts_again_what_hung(host: Host) -> None:
    """The next run waits until the lock of the one that was killed has run out."""
    place = host.place
    assert host.do("start", "again.service").returncode == 0
    first = host.property("again.service", "MainPID")
    host.do("kill", "--kill-who=main", "--signal=STOP", "again.service")
    until("the next run", lambda: len(place.records("again")) == 2, patience=60)
    assert [record["outcome"] for record in place.records("again")] == ["running", "abandoned"]
    until("it is active", lambda: host.property("again.service", "ActiveState") == "active")
    assert host.property("again.service", "NRestarts") == "1"
    assert host.property("again.service", "MainPID") not in ("0", first)
    assert host.do("stop", "again.service").returncode == 0


def test_systemd_hears_its_main_process_alone(host: Host) -> None:
    """A script may end in cronguard; one that goes on after it is not stopped by its end."""
    assert host.do("start", "script.service").returncode == 0
    assert host.property("script.service", "StatusText").startswith("holding the lock for ")
    assert host.do("stop", "script.service").returncode == 0
    assert host.do("start", "compound.service").returncode == 1
    assert host.property("compound.service", "Result") == "timeout"
    assert host.property("compound.service", "StatusText") == ""
    assert host.place.records("compound")[0]["outcome"] == "succeeded"


def lasted(host: Host, unit: str) -> float:
    """Return for how many seconds the unit's main process has been there."""
    begun = host.property(unit, "ExecMainStartTimestampMonotonic")
    return time.clock_gettime(time.CLOCK_MONOTONIC) - int(begun) / 1_000_000


def is_sleep(pid: int) -> bool:
    """Tell whether it is one of the jobs' processes."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return command.startswith(b"sleep") and is_alive(pid)
