"""`make speed`: run every benchmark of speed in this folder, each in a process of its own, and write SPEED.md.

python -m tests.speed [NAME ...]      all of them, or the ones named; the others keep their section in SPEED.md
python -m tests.speed peers/lmms_eval beside another harness, in an environment of its own: see `make speed-peers`
python -m tests.speed gpu             engines on a GPU: see `make speed-gpu`; left out of "all" where there is none
"""

import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPORT = HERE.parent.parent / "SPEED.md"
LIMIT_S = 1800
LEFT_OUT = 77  # exit status of a script that cannot measure on this machine; its output says why
HEADER = """# Speed

Written by `make speed`. Read the ratios: both sides of a ratio were measured in the same minutes on the same machine;
absolute figures depend on the machine and on what else it was doing. `make speed-gpu`, on a machine that has a GPU,
adds the sections gpu (tokens per second) and gpu_training (pairs per second), both with the memory of a model of the 7B
shape. No GPU was at hand so far: the tests run both on a tiny shape.
"""
SECTION = re.compile(r"^## ([\w/]+)\n.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)


def machine() -> str:
    """Cores, Python and load, for the line above a section."""
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, load {load:.1f} at the start"


class LeftOutError(Exception):
    """A script cannot measure on this machine; the text says why."""


def measure(name: str) -> str:
    """Run one script; its output as a section.

    Raises:
        LeftOutError: if it cannot measure here.
        SystemExit: if the script fails.
    """
    print(f"== {name}", flush=True)
    script, where, start = HERE / f"{name}.py", machine(), time.strftime("%Y-%m-%d")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-P", str(script)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        env=environment,
        check=False,
    )
    if done.returncode == LEFT_OUT:
        raise LeftOutError(f"{name} left out: {done.stdout.strip()}")
    if done.returncode != 0:
        raise SystemExit(f"{script.name} failed:\n{done.stdout}{done.stderr}")
    print(done.stdout, flush=True)
    about = (script.read_text().split('"""')[1]).strip().splitlines()[0]
    return f"## {name}\n\n{about}\n\n{start}; {where}\n\n```\n{done.stdout.rstrip()}\n```\n\n"


def main(names: list[str]) -> None:
    """Measure and write."""
    known = sorted(path.stem for path in HERE.glob("[a-z]*.py"))
    peers = [f"peers/{path.stem}" for path in HERE.glob("peers/*.py") if "__main__" in path.read_text()]  # when named
    unknown = set(names) - set(known) - set(peers)
    if unknown:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known + peers)}")
    text = REPORT.read_text() if REPORT.exists() else ""
    sections = {match[1]: match[0] for match in SECTION.finditer(text)}
    for name in names or known:
        try:
            sections[name] = measure(name)
        except LeftOutError as reason:
            if names:
                raise SystemExit(str(reason)) from reason
            print(reason, flush=True)
            continue
        REPORT.write_text(HEADER + "\n" + "".join(sections[key] for key in sorted(sections)))


if __name__ == "__main__":
    main(sys.argv[1:])
