"""`evalkit pairs`: what is in a file of preference pairs, and pairs for other trainers."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalkit.errors import UsageError

if TYPE_CHECKING:
    from aligners.preference.pairs import Pair


def add_pairs_command(commands: Any) -> None:
    """Add `evalkit pairs`."""
    pairs = commands.add_parser(
        "pairs", help="what is in a file of preference pairs: counts, lengths, defects; pairs for other trainers"
    )
    pairs.add_argument(
        "file",
        type=Path,
        metavar="FILE",
        help="pairs.jsonl, RLHF-V / RLAIF-V rows (jsonl, parquet), pairs of another trainer, or a study",
    )
    pairs.add_argument(
        "--artifacts",
        action="store_true",
        help="how much of the preference can be told from the texts alone, and by which words, places and lengths",
    )
    pairs.add_argument(
        "--hard-subset",
        type=Path,
        metavar="FILE",
        help="with --artifacts: write the pairs that cannot be told from the texts alone (pairs.jsonl)",
    )
    pairs.add_argument(
        "--to", metavar="FORM", help="write the usable pairs for trl, llama-factory, ms-swift, llava or evalkit"
    )
    pairs.add_argument("--output-path", type=Path, metavar="NEW", help="file for --to and --build; images go beside it")
    pairs.add_argument(
        "--build",
        choices=("first-error", "confident"),
        help="FILE is a judged iteration of align rlaif: pair the first refuted sentence of each response with a "
        "confirmed one (SENTINEL), or add to its pairs the probability that their label is right",
    )
    pairs.add_argument("--prompts", type=Path, metavar="FILE", help="with --build first-error: the run's prompts")
    pairs.add_argument("--seed", type=int, default=0, help="of the draw of --build first-error")
    pairs.set_defaults(command=describe_pairs)


def describe_pairs(options: argparse.Namespace) -> int:
    """`evalkit pairs`."""
    import tempfile

    from aligners.preference.datasets import read_preferences
    from aligners.preference.exchange import write_as
    from aligners.preference.pairs import drop_defective, drop_unopened

    if options.build is not None:
        return build_pairs(options)
    if options.hard_subset is not None and not options.artifacts:
        raise UsageError("--hard-subset needs --artifacts")
    if (options.to is None) != (options.output_path is None):
        raise UsageError("--to and --output-path belong together: the form, and the file to write")
    written = options.output_path or options.hard_subset
    with tempfile.TemporaryDirectory() as scratch:
        pairs = read_preferences(options.file, Path(scratch) if written is None else written.parent / "images")
        complete, defects = drop_defective(pairs)
        usable, defects = drop_unopened(complete, defects)
    print(f"{len(pairs):,} pairs, {len(usable):,} usable")
    for reason, count in defects.items():
        print(f"  {count:,} {reason}")
    thoughtful = sum(pair.meta.get("thoughts") == "removed" for pair in usable)
    if thoughtful:
        print(f"  {thoughtful:,} held thoughts, which were taken off")
    blind = sum(pair.image is None for pair in usable)
    if blind:
        mixed = (
            "training refuses a mixture; train on them separately"
            if blind < len(usable)
            else "training will see only text"
        )
        print(f"  {blind:,} have no image: {mixed}")
    if usable:
        chosen = sum(len(pair.chosen.split()) for pair in usable) / len(usable)
        rejected = sum(len(pair.rejected.split()) for pair in usable) / len(usable)
        print(f"mean words: chosen {chosen:.1f}, rejected {rejected:.1f}, difference {chosen - rejected:+.1f}")
    if options.artifacts:
        _show_artifacts(complete, options.hard_subset)  # the texts alone: images need not open
    if options.to is not None:
        count = write_as(usable, options.output_path, options.to)
        print(f"{options.output_path}: {count:,} rows for {options.to}")
    return 0


def build_pairs(options: argparse.Namespace) -> int:
    """`evalkit pairs ITERATION --build`: pairs from what an iteration of online feedback has written."""
    from dataclasses import replace

    from aligners.feedback.built import FIRST_ERROR, confident_pairs, first_errors
    from aligners.preference.pairs import write_pairs

    if options.output_path is None or options.to is not None or options.artifacts:
        raise UsageError("--build writes pairs.jsonl to --output-path; describe or convert that file then")
    if options.build == FIRST_ERROR:
        if options.prompts is None:
            raise UsageError(
                "--build first-error needs --prompts, the prompts file of the run: image paths begin there"
            )
        pairs, counts = first_errors(options.file, options.prompts, seed=options.seed)
        shown = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
        print(f"{shown}")
    else:
        pairs = confident_pairs(options.file)
        sure = [float(str(pair.meta["confidence"])) for pair in pairs]
        if sure:
            print(f"mean confidence {sum(sure) / len(sure):.3f}, lowest {min(sure):.3f}")
    placed = (replace(p, image=p.image and str((p.folder / p.image).resolve())) for p in pairs)
    print(f"{options.output_path}: {write_pairs(options.output_path, placed):,} pairs")
    return 0


def _show_artifacts(pairs: "Sequence[Pair]", hard_subset: Path | None) -> None:
    """`evalkit pairs --artifacts`: what the texts alone tell, and the pairs that they do not."""
    from dataclasses import replace

    from aligners.preference.artifacts import find_artifacts
    from aligners.preference.pairs import write_pairs

    artifacts = find_artifacts(pairs)
    print("\nfrom the texts alone, on pairs of images or prompts that were not seen (50 is chance):")
    print(f"  all cues   {artifacts.accuracy.text()} % of pairs right")
    for cue, accuracy in artifacts.by_cue.items():
        print(f"  {cue:<10} {accuracy.text()} %")
    print(f"  the longer response is the chosen one in {artifacts.longer.text()} % of pairs")
    print(
        "most telling features (in chosen, in rejected; for a length, its mean):"
        if artifacts.found
        else "no artifact found"
    )
    for telling in artifacts.telling if artifacts.found else ():
        side = "chosen" if telling.weight > 0 else "rejected"
        print(f"  {telling.feature:<32} {telling.chosen:6.1f} {telling.rejected:6.1f}   speaks for {side}")
    print(f"hard subset: {len(artifacts.hard):,} of {artifacts.pairs:,} pairs cannot be told from the texts")
    if hard_subset is not None:
        hard = (pair for pair in pairs if pair.id in artifacts.hard)
        write_pairs(hard_subset, (replace(p, image=p.image and str((p.folder / p.image).resolve())) for p in hard))
        print(f"written to {hard_subset}; compare methods on it and overall")
