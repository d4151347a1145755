"""`make wheel`: the wheel holds every package and every file they read, and works outside the checkout.

    python -m tests.wheel [--demo]

Builds the wheel, compares its content with the packages here, installs it alone into an empty environment that borrows
the libraries of this one, and runs `evalkit list chair` there; with --demo the demo too (minutes: it trains a base).
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("evalkit", "benchmarks", "aligners", "dashboard")


def main() -> int:
    """Build, compare, install, run; 1 with what is missing or fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.wheel", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--demo", action="store_true", help="run `evalkit demo --no-align` from it as well")
    demo = parser.parse_args().demo
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        wheel = built(folder)
        if lacking := sorted(wanted() - content(wheel)):
            print(f"{wheel.name} lacks {len(lacking)} files: {', '.join(lacking)}", file=sys.stderr)
            return 1
        program = installed(wheel, folder / "environment")
        outside = folder / "outside"
        outside.mkdir()
        commands = [["list", "chair"]] + ([["demo", "--no-align", "--scenes", "20"]] if demo else [])
        for command in commands:
            done = subprocess.run([program, *command], cwd=outside, env=plain_environment(), check=False)
            if done.returncode != 0:
                print(f"evalkit {' '.join(command)} from the wheel ended with {done.returncode}", file=sys.stderr)
                return 1
    print(f"{wheel.name}: all files are in it, and it runs outside the checkout")
    return 0


def wanted() -> set[str]:
    """Files of the packages that git knows, or would: what an editable installation can read."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *PACKAGES],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {name for name in listed if (ROOT / name).is_file()}


def built(folder: Path) -> Path:
    """The wheel of this checkout, built from a copy: a build folder of an earlier one would add old files."""
    copy = folder / "source"
    names = {"pyproject.toml", "README.md", "LICENSE"} | wanted()
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(copy)]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def content(wheel: Path) -> set[str]:
    """Names of the files in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def installed(wheel: Path, environment: Path) -> Path:
    """The program in an environment that holds the wheel, and finds the libraries of this one behind it."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel)], check=True)
    # a path in a .pth file is searched, but its own .pth files, an editable installation's among them, are not read
    own = next(environment.glob("lib/python*/site-packages"))
    (own / "libraries_of_the_checkout.pth").write_text(sysconfig.get_path("purelib") + "\n")
    where = subprocess.run(
        [python, "-c", "import evalkit; print(evalkit.__file__)"],
        cwd=environment,
        env=plain_environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if not Path(where.strip()).is_relative_to(environment.resolve()):
        raise SystemExit(f"the wheel's own packages are not the ones that are imported: {where}")
    return environment / "bin" / "evalkit"


def plain_environment() -> dict[str, str]:
    """The environment without what would lead back to the checkout or to official data."""
    dropped = ("PYTHONPATH", "NLTK_DATA", "EVALKIT_ASSETS", "EVALKIT_GOLDEN")
    return {name: value for name, value in os.environ.items() if name not in dropped}


if __name__ == "__main__":
    sys.exit(main())
