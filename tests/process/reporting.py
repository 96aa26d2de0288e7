"""A reporter of another package, installed beside cronguard: it keeps a diary, and can be ill."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.process.lab import ROOT, Lab

PLUGIN = '''
import json, os, time
from cronguard.reporters.contract import Never, NotNow, Reporter, Told

class Diary(Reporter):
    """Notes what it is told; where a file of that name is there, it is ill in that way."""

    def tell(self, report, timeout):
        folder = self.settings["folder"]
        print("what a plugin prints is for nobody " * 10_000)
        here = os.listdir(folder)
        with open(f"{folder}/asked", "a") as file:
            file.write(f"{os.getpid()} {report.event}\\n")
        if "sleeps" in here:
            time.sleep(60)
        if "dies" in here:
            os.kill(os.getpid(), 9)
        if "not-now" in here:
            raise NotNow("it is ill")
        if "never" in here:
            raise Never("it is dead")
        if "raises" in here:
            raise RuntimeError("no idea " + self.settings.get("key", ""))
        entry = {"event": report.event, "failures": report.failures, "run_id": report.run_id,
                 "record": dict(report.record), "warning": report.warning, "job": report.job}
        with open(f"{folder}/diary", "a") as file:
            file.write(json.dumps(entry) + "\\n")
        if "remarks" in here:
            raise Told("the ink is pale")
'''
ENTRY_POINTS = "[cronguard.reporters]\ndiary = diary_plugin:Diary\nbroken = diary_plugin:NotThere\n"


def interpreter(folder: Path) -> str:
    """Make an environment with the plugin, with what this one has beside; return its Python."""
    home = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    site = home / "lib" / version / "site-packages"
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    (site / "diary_plugin.py").write_text(PLUGIN)
    facts = site / "diary-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(ENTRY_POINTS)
    return str(home / "bin" / "python")


class Diary:
    """What the plugin of a lab noted, and how to make it ill."""

    def __init__(self, lab: Lab, interpreter: str) -> None:
        self.lab = lab
        self.folder = lab.folder / "notes"
        self.folder.mkdir(mode=0o777)
        self.folder.chmod(0o777)
        lab.interpreter = interpreter

    def configure(self, text: str = "", **settings: object) -> None:
        """Write the configuration: the diary with *settings*, and *text*."""
        lines = ["[reporters.diary]", f"folder = {json.dumps(str(self.folder))}"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        path = self.lab.folder / "cronguard.toml"
        path.write_text("\n".join([*lines, text, ""]))
        path.chmod(0o644)
        self.lab.env["CRONGUARD_CONFIG"] = str(path)

    def is_ill(self, how: str, *, ill: bool = True) -> None:
        """Make it ill, or well again."""
        path = self.folder / how
        if ill:
            path.touch()
        else:
            path.unlink()

    def entries(self) -> list[dict[str, object]]:
        """Return what it noted."""
        try:
            lines = (self.folder / "diary").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def events(self) -> list[str]:
        """Return the events it noted."""
        return [str(entry["event"]) for entry in self.entries()]

    def asked(self) -> list[int]:
        """Return the processes that have asked it to note something."""
        try:
            lines = (self.folder / "asked").read_text().splitlines()
        except FileNotFoundError:
            return []
        return [int(line.split()[0]) for line in lines]

    def waiting(self, job: str = "job") -> list[Path]:
        """Return the reports that wait for a job."""
        return sorted((self.lab.state / "spool" / job).glob("*.json"))
