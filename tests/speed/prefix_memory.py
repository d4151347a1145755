"""Peak memory of questions about one image read together, against every prompt read whole: LLaVA, 576 image tokens.

AMBER's about few images, and POPE's about as many as are read at once.

Each side runs in a process of its own, after one prompt that loads what is loaded on first use (Linux).
"""

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.speed.prefixes import Case

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> dict[str, dict[str, float]]:
    """Measure, print, return megabytes by case and side."""
    from tests.speed.prefixes import BATCH, TINY, TOKENS

    cases = both()
    peaks: dict[str, dict[str, float]] = {}
    print(f"batch {BATCH}, {TOKENS} image tokens; MB beyond the model")
    print(f"{'':<40}{'whole':>8}{'shared':>8}{'ratio':>7}")
    for number, case in enumerate(cases):
        peaks[case.name] = {side: measured(side, number) for side in ("whole", "shared")}
        whole, shared = peaks[case.name].values()
        print(f"{f'{case.name}, {case.images} images':<40}{whole:>8.0f}{shared:>8.0f}{whole / shared:>7.1f}")
    cache = 2 * 4 * TINY.layers * TINY.width / 1e6  # MB a token: keys and values in float32
    whole = f"of a batch of whole prompts {cache * TOKENS * BATCH:.0f} MB"
    print(f"bound: the cache of one image's tokens, {cache * TOKENS:.0f} MB; {whole}")
    print("limit: a ratio of 1, sharing takes no more than whole prompts")
    return peaks


def both() -> "list[Case]":
    """The cases."""
    from tests.speed.prefixes import BATCH, CASES

    return [CASES[0], replace(CASES[1], images=2 * BATCH)]


def measured(side: str, number: int) -> float:
    """Megabytes of a case in a process of its own."""
    command = [sys.executable, "-P", __file__, side, str(number)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(side: str, number: int) -> float:
    """Megabytes at most, beyond what is there before."""
    import torch

    from evalkit.sampling import Sampling
    from tests.speed.prefixes import ask, build, run

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        engine, prompts = build(), ask(Path(name), both()[number])
        run(engine, prompts[:1], Sampling(max_new_tokens=1), side == "shared")
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        before = status("VmRSS")
        run(engine, prompts, Sampling(max_new_tokens=2), side == "shared")
        return (status("VmHWM") - before) / 1024


def status(field: str) -> int:
    """A figure of this process, kB."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


if __name__ == "__main__":
    if sys.argv[1:]:
        print(peak(sys.argv[1], int(sys.argv[2])))
    else:
        main()
