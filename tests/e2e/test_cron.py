"""Debian's cron runs a guarded job: the whole way, as users have it. Takes a minute or two."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.conftest import Place
from tests.process.lab import until
from tests.servers import die_with_us

PATIENCE_S = 150.0
"""cron looks at its tables once a minute."""
# A mount namespace with tables of its own, so that nothing of this machine's is run, or changed.
INSIDE = """
set -e
mount --make-rprivate /
for folder in /etc/cron.d /var/spool/cron /run; do
    if [ -d "$folder" ]; then mount -t tmpfs tmpfs "$folder"; fi
done
mkdir -p /var/spool/cron/crontabs
mount --bind "$1/crontab.system" /etc/crontab
install -m 600 -o root -g crontab "$1/crontab.root" /var/spool/cron/crontabs/root
exec cron -f
"""

pytestmark = [
    pytest.mark.root,
    pytest.mark.debian,
    pytest.mark.variant,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces"),
    pytest.mark.skipif(not shutil.which("cron"), reason="needs Debian's package cron"),
]


def crontab(place: Place, *lines: str, shell: str = "/bin/sh") -> list[str]:
    """Write the table; return the command that runs cron with it in namespaces of its own."""
    head = [f"SHELL={shell}", 'MAILTO=""', f"PATH={place.folder}/bin:/usr/bin:/bin"]
    head += [f"CRONGUARD_STATE_DIR={place.state}", f"LAB_MARK={place.mark}"]
    (place.folder / "crontab.root").write_text("\n".join([*head, *lines]) + "\n")
    system = place.folder / "crontab.system"
    system.write_text("# nothing\n")
    system.chmod(0o644)
    lab = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child"]
    return [*lab, "/bin/sh", "-c", INSIDE, "sh", str(place.folder)]


def test_cron_runs_guarded_jobs(place: Place) -> None:
    """Two lines for one job in the same minute: one runs, one is skipped; a third is unharmed."""
    place.script("bin/slow", "#!/bin/sh\nprintenv CRONGUARD_TOKEN >> slow\nsleep 3\n")
    done = Path(place.folder, "quick")
    argv = crontab(
        place,
        f"* * * * *  cd {place.folder} && cronguard run --name slow -- slow",
        f"* * * * *  cd {place.folder} && cronguard run --name slow -- slow",
        f"* * * * *  cronguard run --name quick --shell 'date +\\%s > {done}; exit 3'",
    )
    cron = subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, preexec_fn=die_with_us)
    place.started.append(cron)
    until("the end of a run", lambda: place.records("slow") and ended(place, "slow"), PATIENCE_S)
    until("the other job's end", lambda: ended(place, "quick"), PATIENCE_S)
    cron.kill()  # unshare ignores TERM; its own KILL takes the namespace with it
    cron.wait()
    assert place.records("slow")[-1]["outcome"] == "succeeded"
    assert {skip["reason"] for skip in place.skips("slow")} == {"held"}
    assert place.records("quick")[-1]["exit_status"] == 3
    assert done.read_text().strip().isdigit()
    tokens = place.said("slow").split()
    assert len(tokens) == len(place.records("slow"))


def test_cron_runs_lines_through_cronguard_sh(place: Place) -> None:
    """SHELL alone guards every line: options from the comment, %, standard input and status."""
    to = place.folder
    argv = crontab(
        place,
        f"* * * * *  (date +\\%s; cat) > {to}/done; exit 3 # cronguard: name=quick%one%two",
        f"* * * * *  echo $SHELL $CRONGUARD_JOB > {to}/plain",
        f"* * * * *  touch {to}/never # cronguard: timout=1m",
        f"* * * * *  cronguard run --name own -- touch {to}/own",
        shell=place.shell,
    )
    run_cron(place, argv, "quick", "own")
    assert place.records("quick")[-1]["exit_status"] == 3
    stamp, *given = place.said("done").splitlines()
    assert stamp.isdigit()
    assert given == ["one", "two"]
    until("the plain line", lambda: place.said("plain").endswith("\n"), PATIENCE_S)
    shell, name = place.said("plain").split()
    assert (shell, name[:5]) == ("/bin/sh", "echo-")
    assert not Path(to, "never").exists()


def test_cron_runs_a_wrapped_crontab_as_it_ran_before(place: Place) -> None:
    """Every line does under its guard what it did without: quotes, pipes, % and standard input."""
    to = place.folder
    lines = [
        f'* * * * * echo "it\'s $((1 + 1))" | tr a-z A-Z > {to}/pipe',
        f"* * * * * /bin/date '+\\%Y \\x' > {to}/year",
        f"* * * * * cat > {to}/input%one%two",
        f"* * * * * touch {to}/plain",
    ]
    argv = crontab(place, *lines)
    table = f"{to}/crontab.root"
    said = place.call("crontab", "wrap", "--yes", table)
    assert said.returncode == 0, said.stderr
    assert said.stdout.count(b"# wrapped") == 4
    assert place.call("crontab", "list", table).stdout.count(b" run ") >= 4
    names = ("echo", "date", "cat", "touch")
    run_cron(place, argv, *names)
    assert [place.records(job)[-1]["outcome"] for job in names] == ["succeeded"] * 4
    assert place.said("pipe") == "IT'S 2\n"
    year, rest = place.said("year").split()
    assert (year.isdigit(), rest) == (True, "\\x")
    assert place.said("input").split() == ["one", "two"]
    assert Path(to, "plain").exists()


def run_cron(place: Place, argv: list[str], *jobs: str) -> None:
    """Let cron run until each of the jobs has ended once."""
    cron = subprocess.Popen(argv, env=place.env, stdin=subprocess.DEVNULL, preexec_fn=die_with_us)
    place.started.append(cron)
    for job in jobs:
        until(f"the end of {job}", partial(ended, place, job), PATIENCE_S)
    cron.kill()  # unshare ignores TERM; its own KILL takes the namespace with it
    cron.wait()


def ended(place: Place, job: str) -> bool:
    """Tell whether a run of *job* has ended."""
    return any(record["outcome"] != "running" for record in place.records(job))
