"""Peak memory of AMBER's questions read together, against every prompt read whole: LLaVA, 576 image tokens.

Each side runs in a process of its own, after one prompt that loads what is loaded on first use (Linux).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def main() -> dict[str, float]:
    """Measure, print, return megabytes by side."""
    from tests.speed.prefixes import BATCH, CASES, TINY, TOKENS

    peaks = {}
    for side in ("whole", "shared"):
        command = [sys.executable, "-P", __file__, side]
        peaks[side] = float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
    print(f"{CASES[0].name} about each of {CASES[0].images} images, batch {BATCH}, {TOKENS} image tokens")
    for side, peak in peaks.items():
        print(f"{side:<8}{peak:>8.0f} MB beyond the model")
    cache = 2 * 4 * TINY.layers * TINY.width / 1e6  # MB a token: keys and values in float32
    whole = f"of a batch of whole prompts {cache * TOKENS * BATCH:.0f} MB"
    print(f"bound: the cache of one image's tokens, {cache * TOKENS:.0f} MB; {whole}")
    print(f"ratio {peaks['whole'] / peaks['shared']:.1f}; limit 1: sharing takes no more than whole prompts")
    return peaks


def peak(side: str) -> float:
    """Megabytes at most, beyond what is there before."""
    import torch

    from evalkit.sampling import Sampling
    from tests.speed.prefixes import CASES, ask, build, run

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        engine, prompts = build(), ask(Path(name), CASES[0])
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
        print(peak(sys.argv[1]))
    else:
        main()
