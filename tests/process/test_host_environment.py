"""Poor, odd and hostile surroundings: cron's environment, closed descriptors, limits, traps."""

from __future__ import annotations

import itertools
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.lab import ROOT, Lab, until
from tests.process.places import root, user_lab

START = """
import sys
sys.path.insert(0, sys.argv[1])
from cronguard.__main__ import main
sys.path.insert(0, "")
sys.argv = sys.argv[1:]
sys.exit(main())
"""
OWN = {b"CRONGUARD_JOB", b"CRONGUARD_RUN_ID", b"CRONGUARD_TOKEN", b"CRONGUARD_ATTEMPT"}


def bare(lab: Lab, env: dict[bytes, bytes], *args: str) -> subprocess.CompletedProcess[bytes]:
    """Run cronguard with no other environment than *env*."""
    return subprocess.run(
        lab.argv("run", "--store", f"sqlite://{lab.state}/cronguard.db", *args),
        env=env,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.parametrize(
    "env",
    [
        {},
        {b"LANG": b"C", b"PATH": b"/usr/bin:/bin"},
        {b"LC_ALL": b"POSIX", b"ODD": b"\xff\xfe=x\n", b"EMPTY": b"", b"\xc3\xa9": b"name"},
        {b"LC_CTYPE": b"no_SUCH", b"REDIS_URL": b"", b"PYTHONHASHSEED": b"1"},
    ],
)
def test_h7_the_environment_is_what_was_given_and_our_own(
    local: Lab, env: dict[bytes, bytes]
) -> None:
    """H7: byte for byte; Python's own additions (LC_CTYPE) do not reach the command."""
    done = bare(local, env, "-n", "job", "--", "/usr/bin/env", "-0")
    assert done.returncode == 0, done.stderr
    words = [word.partition(b"=") for word in done.stdout.split(b"\0") if word]
    got = {name: value for name, _, value in words}
    assert {name: value for name, value in got.items() if name not in OWN} == env
    assert set(got) - set(env) == OWN


def test_h7_an_environment_that_execve_knows_and_python_does_not(local: Lab) -> None:
    """H7: entries without a name, or without `=`, end no run."""
    code = (
        "import ctypes, sys\nlibc = ctypes.CDLL(None)\n"
        "words = [w.encode() for w in sys.argv[1:]]\n"
        "argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)\n"
        "env = (ctypes.c_char_p * 5)(b'=nameless', b'bare', b'A=1', b'PATH=/usr/bin:/bin', None)\n"
        "libc.execve(words[0], argv, env)"
    )
    store = f"sqlite://{local.state}/cronguard.db"
    line = local.argv("run", "-n", "job", "--store", store, "--", "sh", "-c", "echo $A; exit 3")
    done = subprocess.run(
        [sys.executable, "-c", code, *line], cwd=ROOT, capture_output=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (3, b"1\n"), done.stderr


def test_h7_bytes_are_bytes_in_arguments_and_output(local: Lab) -> None:
    """H7: under LANG=C, what is no text in any encoding comes through as it is."""
    odd = b"\xff\x00\xfe\xc3".replace(b"\x00", b"")
    line = [word.encode() for word in local.argv("run", "-n", "job", "--", "printf", "%s")]
    done = subprocess.run(
        [*line, odd], env=local.env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, odd)
    assert isinstance(local.records("job")[0]["command"], list)


@root
def test_h6_no_home_and_no_state_but_the_systems(local: Lab) -> None:
    """H6: `env -i` as root keeps its state in /var/lib, made for root alone."""
    text = 'mount -t tmpfs cgt /var/lib && "$@" && stat -c %a /var/lib/cronguard'
    before = ["unshare", "-m", "--propagation", "private", "sh", "-c", text, "sh", "env", "-i"]
    done = subprocess.run(
        [*before, *local.argv("run", "-n", "job", "--", "echo", "ran")],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr) == (b"ran\n700\n", b"")


@root
def test_h6_a_user_without_a_home_is_told_what_to_do() -> None:
    """H6: uid 65534 has a home that does not exist: refused in one line, nothing started."""
    with user_lab(65_534) as lab:
        done = lab.call_inside(
            ["env", "-u", "HOME", "-u", "CRONGUARD_STATE_DIR", "-u", "CRONGUARD_STORE"],
            "run",
            "--",
            "true",
        )
    assert done.returncode in (122, 125)
    assert b"Traceback" not in done.stderr
    assert b"/nonexistent" in done.stderr
    assert b"--store" in done.stderr


@pytest.mark.parametrize(
    "closed", [c for n in (1, 2, 3) for c in itertools.combinations((0, 1, 2), n)]
)
def test_h8_closed_descriptors(local: Lab, closed: tuple[int, ...]) -> None:
    """H8: whichever of 0, 1, 2 are closed, our own pipes do not land there; the command runs."""
    look = (
        "l=$(for n in 0 1 2; do readlink /proc/$$/fd/$n; done); echo $l >links; echo word; exit 7"
    )
    text = 'exec "$@" ' + " ".join(f"{n}{'<' if n == 0 else '>'}&-" for n in closed)
    done = local.call_inside(["sh", "-c", text, "sh"], "run", "-n", "job", "--", "sh", "-c", look)
    assert done.returncode == 7, done.stderr
    links = local.said("links").split()
    assert len(links) == 3
    assert links[0] == "/dev/null"
    assert all(link.startswith("pipe:") for link in links[1:])
    assert done.stdout == (b"" if 1 in closed else b"word\n")
    assert local.records("job")[0]["output_bytes"] == 5


@pytest.mark.parametrize("merged", [False, True])
def test_h9_a_reader_that_left_stops_nothing(lab: Lab, merged: bool) -> None:
    """H9: `cronguard ... | true`: the command gets no SIGPIPE, and its status stands."""
    run = lab.start(
        *("run", "-n", "job", "-t", "20s", "--", "sh", "-c"),
        "while ! [ -e left ]; do sleep 0.01; done; "
        "for i in 1 2 3; do echo $i; echo $i >&2; sleep 0.02; done; echo end >end; exit 5",
        **({"stderr": subprocess.STDOUT} if merged else {}),
    )
    assert run.stdout is not None
    run.stdout.close()
    (lab.folder / "left").touch()
    assert run.wait(20) == 5
    assert lab.said("end") == "end\n"
    record = lab.records("job")[0]
    assert (record["outcome"], record["output_bytes"]) == ("failed", 12)


def test_h11_few_descriptors(local: Lab) -> None:
    """H11: under each limit from 4 to 40: it works, or says which limit; never a traceback."""
    seen = set()
    for limit in range(4, 41, 2):
        done = local.call_inside(["prlimit", f"--nofile={limit}"], "run", "-n", "job", "--", "true")
        if done.returncode not in (0, 122, 125):
            plain = [
                "prlimit",
                f"--nofile={limit}",
                sys.executable,
                "-c",
                "import _sqlite3, _ctypes",
            ]
            assert subprocess.run(plain, capture_output=True, check=False).returncode, (limit, done)
            continue
        seen.add(done.returncode)
        assert b"Traceback" not in done.stderr, (limit, done.stderr)
        assert b"internal error" not in done.stderr, (limit, done.stderr)
        if done.returncode:
            assert b"not started" in done.stderr
        assert local.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
    assert seen >= {0, 125}


def test_h11_little_memory(local: Lab) -> None:
    """H11: under each limit of address space: it works, or ends; nothing hangs, nothing is left."""
    seen = []
    for mb in range(16, 240, 16):
        before = ["prlimit", f"--as={mb << 20}"]
        seen.append(local.call_inside(before, "run", "-n", "job", "--", "true").returncode)
        until("nothing to be left", lambda: not local.marked())
        assert local.call("run", "-n", "job", "-E", "9", "--", "true").returncode == 0
    assert 0 in seen


def test_s5_a_umask_of_0_opens_nothing(local: Lab) -> None:
    """S5: files are 0600 and folders 0700 whatever the umask; the command keeps that umask."""
    before = ["sh", "-c", 'umask 0; exec "$@"', "sh"]
    done = local.call_inside(
        before, "run", "-q", "-n", "job", "--", "sh", "-c", "umask; touch made; exit 1"
    )
    assert done.stdout == b"0000\n"
    assert stat.S_IMODE((local.folder / "made").stat().st_mode) == 0o666
    run = local.call_inside(
        before, "run", "-n", "j2", "--", "sh", "-c", "kill -9 $(cut -d' ' -f4 /proc/$PPID/stat)"
    )
    assert run.returncode == -9
    marks = local.state / "dead"
    until("the guardian's mark", lambda: marks.exists() and any(marks.iterdir()))
    for path in [local.state, *local.state.rglob("*")]:
        wanted = 0o700 if path.is_dir() else 0o600
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


def test_s4_a_state_folder_that_is_a_link_is_refused(local: Lab) -> None:
    """S4: what stands in the way is not followed: nothing is written behind the link."""
    target = local.folder / "elsewhere"
    target.mkdir()
    local.state.symlink_to(target)
    done = local.call("run", "-n", "job", "--", "true")
    assert done.returncode == 125
    assert b"symbolic link" in done.stderr
    assert not list(target.iterdir())


@root
def test_s4_a_database_that_is_a_link_is_not_followed(local: Lab) -> None:
    """S4: a link to another file, in the place of ours, leaves that file as it was."""
    victim = local.folder / "victim"
    victim.write_text("precious")
    local.state.mkdir(mode=0o700)
    (local.state / "cronguard.db").symlink_to(victim)
    done = local.call("run", "-n", "job", "--", "true")
    assert (done.returncode, victim.read_text()) == (125, "precious")


@pytest.mark.parametrize("where", ["folder", "PYTHONPATH"])
def test_s8_modules_in_the_way_are_not_imported(local: Lab, where: str) -> None:
    """S8: `redis.py`, `signal.py` and a `cronguard` of a stranger, there or on PYTHONPATH."""
    evil = local.folder / "evil"
    evil.mkdir()
    trap = f"open({str(local.folder / 'caught')!r}, 'a').write(__name__ + chr(10))\n"
    names = (
        "redis",
        "signal",
        "hiredis",
        "_ctypes",
        "ctypes",
        "fcntl",
        "select",
        "resource",
        "json",
        "click",
        "pwd",
        "errno",
    )
    for name in names:
        (evil / f"{name}.py").write_text(trap)
    (evil / "cronguard").mkdir()
    for name in ("__init__", "core", "__main__"):
        (evil / "cronguard" / f"{name}.py").write_text(trap)
    env = {"PYTHONPATH": f"{ROOT}:{evil}"} if where == "PYTHONPATH" else {}
    program = [
        sys.executable,
        "-c",
        START,
        str(ROOT),
    ]
    run = subprocess.run(
        [*program, "run", "-n", "job", "-t", "5s", "--", "sh", "-c", "exit 3"],
        env=local.env | env,
        cwd=evil,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (run.returncode, run.stderr) == (3, b"")
    assert local.said("caught") == ""


@pytest.mark.parametrize("more", [[], ["--debug"]])
def test_s2_an_error_of_our_own_never_shows_the_password(local: Lab, more: list[str]) -> None:
    """S2: a real run that fails by a bug says so without it, and ends with 125."""
    store = "redis://someone:c4n4ry@127.0.0.1:6379/0"
    broken = (
        "import os, sys\n"
        "def umask(mode):\n    raise RuntimeError('what is ' + os.environ['CRONGUARD_STORE'])\n"
        "os.umask = umask\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", broken + START, str(ROOT), "run", *more, "--", "true"],
        env=local.env | {"CRONGUARD_STORE": store},
        cwd=local.folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 125
    assert b"internal error: RuntimeError: what is redis://someone:***@127.0.0.1" in run.stderr
    assert b"c4n4ry" not in run.stderr
    assert (b"Traceback" in run.stderr) == bool(more)


def test_what_a_command_inherits_is_as_it_was(local: Lab) -> None:
    """DESIGN 7: working folder, umask, nice, limits and stdin reach the command unchanged."""
    text = (
        "import os, resource, sys\n"
        "print(os.getcwd(), oct(os.umask(0)), os.nice(0),"
        " resource.getrlimit(resource.RLIMIT_NOFILE), sys.stdin.read(), flush=True)"
    )

    def prepare() -> None:
        os.umask(0o027)
        os.nice(3)

    process = subprocess.Popen(
        ["prlimit", "--nofile=200:300", *local.argv("run", "--", *local.python(text))],
        env=local.env,
        cwd=local.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        preexec_fn=prepare,
    )
    usual = os.nice(0) + 3
    out, _ = process.communicate(b"from stdin \xc3\xa9", timeout=30)
    assert out.decode() == f"{local.folder} 0o27 {usual} (200, 300) from stdin é\n"


def test_a_working_folder_that_is_gone(local: Lab) -> None:
    """H6: a run in a deleted folder is a run."""
    gone = local.folder / "gone"
    gone.mkdir()
    text = 'cd "$0" && rmdir "$0" && exec "$@"'
    done = local.call_inside(
        ["sh", "-c", text, str(gone)], "run", "-n", "job", "--", "sh", "-c", "exit 3"
    )
    assert done.returncode == 3, done.stderr


def test_our_own_files_stay_where_they_were(local: Lab, tmp_path: Path) -> None:
    """A run leaves its state folder and nothing else."""
    before = set(tmp_path.rglob("*"))
    assert local.call("run", "-n", "job", "--", "true").returncode == 0
    made = set(tmp_path.rglob("*")) - before
    assert all(local.state in (path, *path.parents) for path in made), made
