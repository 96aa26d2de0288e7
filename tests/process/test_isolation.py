"""`--isolation`: what the command notices of it, what is refused, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import children
from tests.process.isolated import MODES, USERS, Held, ended, held
from tests.process.lab import Lab, is_alive, until
from tests.process.places import control_group, root, user_lab
from tests.process.terminal import PROMPT, Terminal
from tests.process.witness import lease_end

EACH = [(mode, who) for mode in MODES for who in USERS]


@pytest.fixture(params=EACH, ids=[f"{mode}-{who}" for mode, who in EACH])
def place(request: pytest.FixtureRequest) -> Iterator[Held]:
    """Each isolation, for each kind of user."""
    with held(*request.param) as found:
        yield found


@pytest.fixture(params=USERS)
def space(request: pytest.FixtureRequest) -> Iterator[Held]:
    """A PID namespace, for each kind of user."""
    with held("pidns", request.param) as found:
        yield found


# -- as everywhere ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "status"),
    [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill $$", 143)],
)
def test_the_exit_status_is_the_commands(place: Held, text: str, status: int) -> None:
    """P1: exactly, in each isolation, also a death by signal."""
    done = place.call("-n", "job", "--", "sh", "-c", f"{text}; sleep 9")
    assert (done.returncode, done.stderr) == (status, b"")
    [record] = place.lab.records("job")
    assert record["exit_status"] == status
    assert record["signal"] == (status - 128 if status in (137, 143) else None)


def test_p1_what_cannot_be_started_is_told(place: Held) -> None:
    """P1: 127, 126, and the lock is free again."""
    assert place.call("-n", "job", "--", "/bin/nothing-of-that-name").returncode == 127
    (place.lab.folder / "data").write_text("no program")
    assert place.call("-n", "job", "--", f"{place.lab.folder}/data").returncode == 126
    assert place.call("-n", "job", "-E", "9", "--", "true").returncode == 0


def test_p19_nothing_of_ours_reaches_the_command(place: Held) -> None:
    """P18, P19: descriptors 0, 1, 2; default signals, an empty mask; user, folder and umask."""
    text = (
        "import os\n"
        "status = open('/proc/self/status').read()\n"
        "print(sorted(int(name) for name in os.listdir('/proc/self/fd'))[:4])\n"
        "print([line.split()[1] for line in status.splitlines() if line[:6] in\n"
        "    ('SigBlk', 'SigCgt')])\n"
        "print(os.getuid(), os.geteuid(), os.getgid(), os.getcwd(), os.getpgrp() == os.getpid())\n"
    )
    done = place.call("-n", "job", "--", *place.lab.python(text))
    user = place.lab.user or os.getuid()
    fds, masks, me = done.stdout.decode().splitlines()
    assert fds == "[0, 1, 2, 3]"  # the listing's own
    assert masks.startswith("['0000000000000000'")
    assert me == f"{user} {user} {place.lab.user or os.getgid()} {place.lab.folder} True"


def test_p3_signals_reach_the_command(place: Held) -> None:
    """P3: those that are handed on, and the polite one, in order."""
    command = children.command(
        "tell_signals", 10, 15, interpreter=place.lab.interpreter
    )  # USR1, TERM
    run = place.ready("-n", "job", "-k", "20s", "--", *command)
    assert run.stdout is not None
    run.send_signal(signal.SIGUSR1)
    assert run.stdout.readline() == b"got 10\n"
    run.terminate()
    assert run.stdout.readline() == b"got 15\n"
    run.send_signal(signal.SIGUSR2)
    assert run.wait(20) == 143


def test_p21_a_plain_program_dies_of_term(place: Held) -> None:
    """P21: one without handlers, which as PID 1 of a namespace would hear no TERM."""
    run = place.ready("-n", "job", "-k", "60s", "--", "sh", "-c", "echo ready; exec sleep 600")
    run.terminate()
    assert run.wait(20) == 143
    run = place.ready(
        "-n", "job", "-t", "200ms", "-k", "60s", "--", "sh", "-c", "echo ready; sleep 600; exit 3"
    )
    assert run.wait(20) == 124
    assert place.lab.records("job")[0]["signal"] == signal.SIGTERM


def test_p7_stragglers_wait_keeps_the_lock(place: Held) -> None:
    """P7: the run lasts as long as its tree, and its status is the command's."""
    text = "(while ! [ -e stop ]; do sleep 0.01; done; echo late > late) & echo ready; exit 4"
    run = place.ready("-n", "job", "--stragglers", "wait", "--", "sh", "-c", text)
    assert place.call("-n", "job", "-E", "9", "--", "true").returncode == 9
    (place.lab.folder / "stop").touch()
    assert run.wait(20) == 4
    assert place.lab.said("late") == "late\n"


def test_p7_stragglers_are_counted_asked_and_killed(place: Held) -> None:
    """P7: one goes at TERM, one is deaf; the status stays the command's."""
    text = "sleep 600 & (trap '' TERM; sleep 600) & sleep 0.05; exit 3"
    done = place.call("-n", "job", "-k", "200ms", "--", "sh", "-c", text)
    assert done.returncode == 3
    assert b"left" in done.stderr
    assert not place.lab.marked()
    assert int(str(place.lab.records("job")[0]["stragglers"])) >= 2


@pytest.mark.parametrize("kind", ["plain", "daemon"])
def test_p7_stragglers_leave_lets_them_live(place: Held, kind: str) -> None:
    """P7: also in a namespace: its first process stays with them, holds no output, ends last."""
    command = children.command("zoo", place.lab.folder, kind, interpreter=place.lab.interpreter)
    run = place.ready("-n", "job", "--stragglers", "leave", "--", *command)
    straggler = outside(place, f"zoo-{kind}")
    [command_pid] = [
        pid for pid in place.lab.marked() if b"\0zoo\0" in line(pid) and b"run\0" not in line(pid)
    ]
    os.kill(command_pid, signal.SIGKILL)
    assert run.communicate(timeout=20)[0] == b""  # the end of the output: nobody else holds it
    assert run.returncode == 137
    assert place.call("-n", "job", "-E", "9", "--", "true").returncode == 0
    assert is_alive(straggler)
    os.kill(straggler, signal.SIGKILL)
    ended(place)


def outside(place: Held, name: str) -> int:
    """Return the number, out here, of the process of the lab that is called so."""
    found = until(name, lambda: [pid for pid in place.lab.marked() if name.encode() in line(pid)])
    assert isinstance(found, list)
    [pid] = [pid for pid in found if line(pid).startswith(name.encode())]
    return int(pid)


def line(pid: int) -> bytes:
    """Return the command line of a process; nothing if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_what_the_tree_used_is_counted(place: Held) -> None:
    """The record has the processor time of what was reaped, in there too."""
    text = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; exit 0"
    assert place.call("-n", "job", "--", "sh", "-c", f"sh -c '{text}'").returncode == 0
    record = place.lab.records("job")[0]
    assert int(str(record["cpu_user_ms"])) > 10
    assert int(str(record["max_rss_bytes"])) > 100_000


def test_p14_a_guardian_that_is_stopped_early_is_woken(local: Lab) -> None:
    """P14: before it has started the command: the run goes on after a second, and hears TERM."""
    for command, status in ((("true",), 0), (("sleep", "600"), 143)):
        run = local.start("run", "-n", "job", "--", *command)
        os.kill(local.guardian_of(run.pid), signal.SIGSTOP)
        if status:
            until("the lock to be asked for", lambda: lease_end(local))
            run.terminate()
        assert run.wait(20) == status
        run.communicate()


# -- a namespace -----------------------------------------------------------------------------------


def test_in_a_namespace_the_command_sees_itself_and_nobody_else(space: Held) -> None:
    """P21: it is not the first process, /proc is that of its namespace, and no other is in it."""
    text = "echo $$; ls /proc | grep -c '^[0-9]'; cat /proc/1/cmdline | tr '\\0' ' '; echo; id -u"
    done = space.call("-n", "job", "--", "sh", "-c", text)
    number, count, first, user = done.stdout.decode().splitlines()
    assert number == "2"
    assert int(count) <= 6
    assert "cronguard run" in first
    assert user == str(space.lab.user or os.getuid())
    assert Path(f"/proc/{os.getpid()}").exists()  # and the host has its own


def test_files_belong_to_the_same_user_in_a_namespace(space: Held) -> None:
    """User and group are mapped to themselves."""
    assert space.call("-n", "job", "--", "touch", "made").returncode == 0
    assert (space.lab.folder / "made").stat().st_uid == (space.lab.user or os.getuid())


@root
def test_mounts_of_the_host_appear_inside_and_not_the_other_way_round(tmp_path: Path) -> None:
    """A job that mounts something does so for itself; what the host unmounts is let go."""
    host, job = tmp_path / "host", tmp_path / "job"
    for folder in (host, job):
        folder.mkdir()
    text = (
        f"mount -t tmpfs cgi {job} && echo ready; while ! [ -e {host}/seen ]; do sleep 0.01; done; "
        f"echo seen; while [ -e {host}/seen ]; do sleep 0.01; done; echo gone"
    )
    script = (
        "mount --make-rprivate /; mount -t tmpfs base $1; mkdir $1/sub; mount --make-shared $1\n"
        'shift; "$@" > $OUT & until grep -q ready $OUT; do sleep 0.01; done\n'
        "grep -c cgi /proc/self/mounts\n"
        "mount -t tmpfs sub $HOST; touch $HOST/seen; until grep -q seen $OUT; do sleep 0.01; done\n"
        "umount $HOST && until grep -q gone $OUT; do sleep 0.01; done; wait; cat $OUT\n"
    )
    with held("pidns", "root") as place:
        env = place.lab.env | {"OUT": str(place.lab.folder / "out"), "HOST": f"{host}/sub"}
        text = text.replace(f"{host}/seen", f"{host}/sub/seen")
        (place.lab.folder / "out").touch()
        run = place.lab.argv("run", "--isolation", "pidns", "-n", "job", "--", "sh", "-c", text)
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", script, "sh", str(host), *run],
            env=env,
            cwd=place.lab.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=30,
        )
        assert done.stdout.decode().split() == ["0", "ready", "seen", "gone"], done.stderr


def test_a_killed_first_process_is_the_commands_death(space: Held) -> None:
    """P23: whoever kills it from outside kills all in there; the run fails by signal 9."""
    run = space.ready("-n", "job", "--", "sh", "-c", "setsid sleep 600 & echo ready; sleep 600")
    os.kill(first_of(space, run.pid), signal.SIGKILL)
    assert run.wait(20) == 137
    assert not space.lab.marked()
    assert space.lab.records("job")[0]["outcome"] == "failed"


def test_nobody_inside_can_stop_or_kill_the_first_process(space: Held) -> None:
    """P21: neither KILL nor STOP nor anything else reaches it from its own namespace."""
    text = "for s in $(seq 1 31); do kill -$s 1 2>/dev/null; done; echo ready; exec sleep 600"
    run = space.ready("-n", "job", "-k", "60s", "--", "sh", "-c", text)
    run.terminate()
    assert run.wait(20) == 143


@pytest.mark.parametrize("who", ["init", "guardian", "both"])
def test_a_stopped_first_process_is_woken_or_killed(space: Held, who: str) -> None:
    """P14: stopped from outside, it still hands on TERM, and dies when its time has come."""
    run = space.ready("-n", "job", "-k", "300ms", "--", "sh", "-c", "echo ready; exec sleep 600")
    victims = {"init": [first_of(space, run.pid)], "guardian": [space.lab.guardian_of(run.pid)]}
    for pid in victims.get(who, victims["init"] + victims["guardian"]):
        os.kill(pid, signal.SIGSTOP)
    run.terminate()
    assert run.wait(20) == 143
    assert not space.lab.marked()


def first_of(place: Held, keeper: int) -> int:
    """Return the first process of the run's namespace, in our numbers."""
    guardian = place.lab.guardian_of(keeper)
    [pid] = Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()
    return int(pid)


@pytest.mark.parametrize("mode", MODES)
def test_p24_ctrl_z_fg_and_ctrl_c_at_a_terminal(mode: str) -> None:
    """P24: the command has the keyboard; it is stopped, continued and interrupted by it."""
    with held(mode, "root") as place:
        place.lab.env["CRONGUARD_ISOLATION"] = mode
        terminal = Terminal(place.lab)
        try:
            terminal.enter("$CG -- sh -c 'echo up; read a; echo got $a; exec sleep 600'; echo =$?=")
            terminal.wait_for("up\r\n")
            terminal.type("\x1a")
            terminal.wait_for("Stopped")
            terminal.wait_for(PROMPT)
            terminal.enter("fg")
            until("the keyboard", lambda: terminal.foreground() != terminal.process.pid)
            terminal.type("word\n")
            terminal.wait_for("got word")
            terminal.type("\x03")
            terminal.wait_for(PROMPT)
            assert terminal.foreground() == terminal.process.pid
        finally:
            terminal.close()
        assert place.lab.records("job")[0]["signal"] == signal.SIGINT


# -- refused ---------------------------------------------------------------------------------------


def refused(done: subprocess.CompletedProcess[bytes], lab: Lab, what: str) -> None:
    """Assert that it said why, what to do, and left a record; and that it asked for no lock."""
    text = done.stderr.decode()
    assert done.returncode == 125, text
    assert f"job: not started: --isolation {what} cannot be had: " in text
    assert "--isolation auto" in text
    assert done.stdout == b""
    record = lab.records("job")[0]
    assert (record["outcome"], record["token"]) == ("not_started", None)
    assert record["reason"] == "isolation_refused"
    if lab.user is None:  # else with a Python that may lack what commands that read need
        assert b"cannot hold it as --isolation asks" in lab.call("why", "job").stdout


@root
def test_a_control_group_that_cannot_be_had_is_refused_before_the_lock() -> None:
    """125, why, and what to do; also while another run holds the lock, so none was asked for."""
    with user_lab(65_534) as lab:
        refused(lab.call("run", "--isolation", "cgroup", "-n", "job", "--", "echo"), lab, "cgroup")
        holder = lab.start_ready("run", "-n", "job", "--", "sh", "-c", "echo ready; exec sleep 60")
        done = lab.call("run", "--isolation", "cgroup", "-n", "job", "-E", "9", "--", "echo")
        assert done.returncode == 125
        holder.terminate()
        holder.wait(20)


@root
def test_a_namespace_that_cannot_be_had_is_refused_before_the_lock(local: Lab) -> None:
    """A limit of 0 namespaces, as a hardened host or a container may have it."""
    text = 'echo 0 > /proc/sys/user/max_pid_namespaces && exec "$@"'
    prefix = ["unshare", "--user", "--map-root-user", "sh", "-c", text, "sh"]
    args = ("run", "--isolation", "pidns", "-n", "job", "--", "echo")
    refused(local.call_inside(prefix, *args), local, "pidns")
    done = local.call_inside(prefix, "run", "-n", "job", "--", "echo", "auto")
    assert (done.returncode, done.stdout) == (0, b"auto\n")


def test_the_isolation_is_said_by_flag_variable_and_file(local: Lab) -> None:
    """Each of them, and what is not known is refused."""
    file = local.folder / "c.toml"
    file.write_text('[jobs.job]\nisolation = "group"\n')
    file.chmod(0o600)
    show = ("run", "-n", "job", "--dry-run", "--config", str(file), "--", "true")
    assert chosen(local.call(*show)) == ["group"]
    assert chosen(local.call(*show, env={"CRONGUARD_ISOLATION": "pidns"})) == ["pidns"]
    done = local.call("run", "--isolation", "jail", "--", "true")
    assert done.returncode == 125
    assert b"write auto, group, cgroup or pidns" in done.stderr


def test_a_dry_run_says_what_auto_is_here(local: Lab) -> None:
    """`auto` is a control group where one can be made, and the group elsewhere."""
    done = local.call("run", "-n", "job", "--dry-run", "--", "true")
    words = chosen(done)
    assert words[:3] == ["auto,", "which", "is"]
    assert words[3] in ("group", "cgroup")


def chosen(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    """Return what a dry run says of the isolation, without its source."""
    assert done.returncode == 0, done.stderr
    [said] = [row for row in done.stdout.decode().splitlines() if row.startswith("isolation")]
    return said.rpartition("(")[0].split()[1:]


# -- out of memory ---------------------------------------------------------------------------------

EATER = "echo ready; exec tail /dev/zero"
LIMIT = 80 << 20


@root
@pytest.mark.parametrize("mode", MODES)
def test_p23_the_oom_killer_takes_the_command(mode: str) -> None:
    """P23: it is a death by signal 9, of the command alone: 137, on record, the lock is free."""
    with control_group("memory") as group, held(mode, "root") as place:
        group.set("memory.limit_in_bytes", LIMIT)
        run = place.ready("-n", "job", "--", "sh", "-c", EATER, preexec=group.join)
        assert run.wait(30) == 137
        record = place.lab.records("job")[0]
        assert (record["outcome"], record["signal"]) == ("failed", signal.SIGKILL)
        assert not place.lab.marked()
        assert place.call("-n", "job", "-E", "9", "--", "true").returncode == 0


@root
@pytest.mark.parametrize(
    ("mode", "who"),
    [*[(mode, who) for mode in MODES for who in ("keeper", "guardian")], ("pidns", "first")],
)
def test_p23_the_oom_killer_takes_one_of_ours(mode: str, who: str) -> None:
    """P23: made its first choice, and taken: the whole tree is dead, and the run is on record."""
    with control_group("memory") as group, held(mode, "root") as place:
        text = "setsid sleep 600 & echo ready; while ! [ -e go ]; do sleep 0.01; done; " + EATER
        group.set("memory.limit_in_bytes", LIMIT)
        run = place.ready("-n", "job", "--", "sh", "-c", text, preexec=group.join)
        guardian = place.lab.guardian_of(run.pid)
        victim = {"keeper": lambda: run.pid, "guardian": lambda: guardian,
                  "first": lambda: first_of(place, run.pid)}[who]()  # fmt: skip
        Path(f"/proc/{victim}/oom_score_adj").write_text("1000")
        (place.lab.folder / "go").touch()
        status = run.wait(30)
        assert status == {"keeper": -9, "guardian": 125, "first": 137}[who]
        ended(place)
        expected = "running" if who == "keeper" else "failed"
        assert place.lab.records("job")[0]["outcome"] == expected
