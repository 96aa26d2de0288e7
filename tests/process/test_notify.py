"""sd_notify(3): what a service manager hears of a run, and that it can never disturb one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.lab import PATIENCE_S, Lab, until

RUN = ("run", "-n", "job")
READY = ("sh", "-c", "echo ready; read line; exit ${line:-0}")


class Manager:
    """A socket as a service manager has it. `told` all lines so far."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0") if address[0] == "@" else address)
        self.socket.settimeout(PATIENCE_S)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.told: list[str] = []
        self.senders: set[int] = set()

    def take(self) -> list[str]:
        """Take one message, and note which process has sent it (unix(7), SCM_CREDENTIALS)."""
        data, about, _, _ = self.socket.recvmsg(4096, 64)
        self.senders.add(int.from_bytes(about[0][2][:4], sys.byteorder))
        lines = data.decode().split("\n")
        self.told += lines
        return lines

    def hear(self, line: str) -> None:
        """Wait for a message with a line that begins so."""
        while True:
            lines = self.take()
            if any(one.startswith(line) for one in lines):
                return

    def rest(self) -> list[str]:
        """Return all that was told, once the run is over."""
        self.socket.setblocking(False)
        try:
            while True:
                self.take()
        except BlockingIOError:
            return self.told


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, local: Lab) -> Iterator[Manager]:
    """One that runs in the lab's environment gets its address."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@cg-{local.mark}"
    found = Manager(address)
    local.env["NOTIFY_SOCKET"] = address
    yield found
    found.socket.close()


def words(told: list[str]) -> list[str]:
    return [line for line in told if line in ("READY=1", "STOPPING=1")]


def test_ready_when_the_command_runs_and_stopping_at_its_end(local: Lab, manager: Manager) -> None:
    """READY means that it has started, not that it will; its environment is as it was."""
    seen = local.folder / "seen"
    command = f"echo ready; echo $NOTIFY_SOCKET > {seen}; read line; exit 3"
    run = local.start_ready(*RUN, "--", "sh", "-c", command, stdin=-1)
    manager.hear("READY=1")
    manager.hear("STATUS=holding the lock for ")
    assert run.poll() is None
    assert "STOPPING=1" not in manager.told
    run.communicate(b"\n", timeout=60)
    assert run.returncode == 3
    told = manager.rest()
    assert words(told) == ["READY=1", "STOPPING=1"]
    run_id = str(local.records("job")[0]["run_id"])[:12]
    assert f"STATUS=failed, run {run_id}" in told
    assert seen.read_text().strip() == manager.address


def test_a_skip_is_ready_too_and_what_could_not_start_is_not(local: Lab, manager: Manager) -> None:
    """Or a unit would fail for a skip, and not for a command that is missing."""
    assert local.call(*RUN, "--", "/no/such/command").returncode == 127
    assert words(manager.rest()) == ["STOPPING=1"]
    manager.told.clear()
    with_lock = local.start_ready(*RUN, "--", *READY, stdin=-1, env={"NOTIFY_SOCKET": ""})
    assert local.call(*RUN, "--", "true").returncode == 0
    told = manager.rest()
    assert words(told) == ["READY=1", "STOPPING=1"]
    assert any(line.startswith("STATUS=skipped: another run holds the lock") for line in told)
    with_lock.communicate(b"\n", timeout=60)


def test_a_skip_is_ready_first_whatever_the_store(remote: Lab) -> None:
    """A store that answers later than at once makes no stop before the start of it."""
    manager = Manager(str(remote.folder / "notify"))
    with_lock = remote.start_ready(*RUN, "--", *READY, stdin=-1)
    env = {"NOTIFY_SOCKET": manager.address}
    assert remote.call(*RUN, "--", "true", env=env).returncode == 0
    assert words(manager.rest()) == ["READY=1", "STOPPING=1"]
    with_lock.communicate(b"\n", timeout=60)
    manager.socket.close()


def test_who_waits_for_the_lock_asks_for_patience(local: Lab, manager: Manager) -> None:
    """A start that takes long is none that hangs; whose lock it is stands in the status."""
    holder = local.start_ready(*RUN, "--", *READY, stdin=-1, env={"NOTIFY_SOCKET": ""})
    run = local.start(*RUN, "--wait", "1h", "--", "true")
    manager.hear("EXTEND_TIMEOUT_USEC=")
    manager.hear("EXTEND_TIMEOUT_USEC=")
    assert words(manager.told) == []
    assert any(f"held by {os.uname().nodename}" in line for line in manager.told)
    holder.communicate(b"\n", timeout=60)
    run.communicate(timeout=60)
    assert words(manager.rest()) == ["READY=1", "STOPPING=1"]


def test_the_grace_is_announced(local: Lab, manager: Manager) -> None:
    """Stopping takes as long as --kill-after says: nobody shall kill us before."""
    deaf = "trap '' TERM; echo ready; read line"
    run = local.start_ready(*RUN, "--kill-after", "1h", "--", "sh", "-c", deaf, stdin=-1)
    manager.hear("READY=1")
    run.terminate()
    manager.hear("STOPPING=1")
    manager.hear("EXTEND_TIMEOUT_USEC=")
    asked = [line for line in manager.told if line.startswith("EXTEND")][-1]
    assert int(asked.partition("=")[2]) > 3_500_000_000
    run.communicate(b"\n", timeout=60)
    assert run.returncode == 143


def test_the_watchdog_is_fed_by_the_loop_alone(local: Lab, manager: Manager) -> None:
    """A keeper that hangs is silent; what runs beside it does not speak for it."""
    local.env["WATCHDOG_USEC"] = "200000"
    run = local.start_ready(*RUN, "--dead-man", "off", "--", *READY, stdin=-1)
    for _ in range(5):
        manager.hear("WATCHDOG=1")
    os.kill(run.pid, signal.SIGSTOP)
    until("it is stopped", lambda: " T" in Path(f"/proc/{run.pid}/stat").read_text().split(")")[1])
    manager.rest()
    manager.socket.settimeout(1)
    with pytest.raises(TimeoutError):
        manager.socket.recv(4096)
    os.kill(run.pid, signal.SIGCONT)
    manager.socket.settimeout(PATIENCE_S)
    manager.hear("WATCHDOG=1")
    run.communicate(b"\n", timeout=60)


def test_the_keeper_alone_speaks(local: Lab, manager: Manager) -> None:
    """Not its guardian, nor who reports, nor a run inside of the run that systemd started."""
    config = local.folder / "c.toml"
    config.write_text('[reporters.hook]\ntype = "command"\non_success = "echo told > told"\n')
    config.chmod(0o600)
    inner = " ".join(local.argv("run", "-n", "inner", "--", "true"))
    command = f"SYSTEMD_EXEC_PID=$PPID; export SYSTEMD_EXEC_PID; {inner}"
    run = local.start(*RUN, "-c", "c.toml", "--report", "hook", "--", "sh", "-c", command)
    run.communicate(timeout=60)
    assert run.returncode == 0
    until("the report", (local.folder / "told").exists)
    assert words(manager.rest()) == ["READY=1", "STOPPING=1"]
    assert manager.senders == {run.pid}
    assert local.records("inner")[0]["outcome"] == "succeeded"


def test_who_waits_for_its_reader_asks_for_patience(local: Lab, manager: Manager) -> None:
    """The command has ended, and what it wrote is not lost because somebody is slow."""
    run = local.start(*RUN, "--", "head", "-c", "120000", "/dev/zero")
    manager.hear("STOPPING=1")
    for _ in range(3):
        manager.hear("EXTEND_TIMEOUT_USEC=")
    out, _ = run.communicate(timeout=60)
    assert (run.returncode, len(out)) == (0, 120_000)


def test_that_nobody_listens_is_said_once_if_at_all(local: Lab) -> None:
    """With --debug, and the run is the same."""
    nobody = {"NOTIFY_SOCKET": str(local.folder / "nobody"), "WATCHDOG_USEC": "100000"}
    ended = local.call(*RUN, "--debug", "--", "sh", "-c", "sleep 0.5; exit 3", env=nobody)
    assert ended.returncode == 3
    assert ended.stderr.count(b"systemd cannot be told how the run stands: no such file") == 1
    ended = local.call(*RUN, "--", "sh", "-c", "exit 3", env=nobody)
    assert (ended.returncode, ended.stderr) == (3, b"")


@pytest.mark.parametrize(
    "changed",
    [{"WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": ""}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "٣"}],
)
def test_a_watchdog_of_others_is_not_fed(
    local: Lab, manager: Manager, changed: dict[str, str]
) -> None:
    """Nor one that nobody can read."""
    env = {"WATCHDOG_USEC": "1000"} | changed
    assert local.call(*RUN, "--", "sleep", "0.3", env=env).returncode == 0
    assert words(manager.rest()) == ["READY=1", "STOPPING=1"]
    assert "WATCHDOG=1" not in manager.told


def test_only_who_was_started_by_the_manager_speaks(local: Lab, manager: Manager) -> None:
    """A service's script that starts us would be stopped by our STOPPING."""
    assert local.call(*RUN, "--", "true", env={"SYSTEMD_EXEC_PID": "1"}).returncode == 0
    assert manager.rest() == []


def fill(address: str) -> None:
    """Send to *address* until it takes no more from anybody: each sender has a limit of its own."""
    for _ in range(1_000):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as filler:
            filler.setblocking(False)
            sent = 0
            try:
                while True:
                    sent += filler.sendto(b"x", address)
            except BlockingIOError:
                if not sent:
                    return
    raise AssertionError("it never was full")


def test_nobody_there_or_a_full_socket_changes_nothing(local: Lab, tmp_path: Path) -> None:
    """The run is as without; what can be told later is."""
    for address in (str(tmp_path / "nobody"), "@nobody", "nonsense", "", "@"):
        ended = local.call(*RUN, "--", "echo", "x", env={"NOTIFY_SOCKET": address})
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"x\n", b"")
    manager = Manager(str(tmp_path / "full"))
    fill(manager.address)
    env = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}
    run = local.start_ready(*RUN, "--", *READY, stdin=-1, env=env)
    manager.hear("READY=1")
    run.communicate(b"4\n", timeout=60)
    assert run.returncode == 4
    manager.rest()
    fill(manager.address)
    assert local.call(*RUN, "--", "true", env=env).returncode == 0
    manager.socket.close()


def test_a_run_without_a_manager_loads_nothing_for_it(local: Lab) -> None:
    """The hot path is as it was."""
    argv = [local.interpreter, "-X", "importtime", *local.argv(*RUN, "--", "true")[1:]]
    ended = subprocess.run(argv, env=local.env, cwd=local.folder, capture_output=True, timeout=60)
    assert ended.returncode == 0
    assert b"cronguard.runtime.keeper" in ended.stderr
    assert b"cronguard.runtime.notify" not in ended.stderr
