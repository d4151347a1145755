"""Command lines, output folders, images and checkpoints that cannot be used."""

from tests.endurance.spoils import (
    ABORTED,
    AMBER,
    CHAIR,
    DIGITS,
    FAILED_SAMPLES,
    IMAGE,
    MMHAL,
    NOWHERE,
    POPE,
    REPLAY,
    SERVED,
    TEMPLATE,
    USAGE,
    Case,
    Spoil,
    bomb_png,
    cut,
    folder,
    gone,
    link,
    put,
)


def command_lines() -> list[Case]:
    """Options, settings and names that make no sense."""
    usage: list[tuple[str, str, tuple[str, ...]]] = [
        ("no command", "", ("COMMAND",)),
        ("unknown command", "rum", ("rum",)),
        ("unknown option", f"{CHAIR} --colour red", ("--colour",)),
        ("unknown benchmark", "score chairs --responses captions.jsonl", ("'chairs'", "chair, ")),
        ("unknown module", "score no.such:Thing --responses captions.jsonl", ("no.such:Thing",)),
        ("unknown class", "score benchmarks.chair:Table --responses captions.jsonl", ("Table",)),
        ("a class that is not a benchmark", "score pathlib:Path --responses captions.jsonl", ("pathlib:Path",)),
        ("a module name that is none", "score ..x:Y --responses captions.jsonl", ("..x:Y",)),
        ("unknown task", "run --engine replay --model captions.jsonl --tasks chair,stool --world world", ("stool",)),
        ("no task", "run --engine replay --model captions.jsonl --tasks , --world world", ("--tasks",)),
        ("unknown engine", "run --engine gpt --model m --tasks chair --world world", ("gpt", "transformers")),
        ("unknown judge engine", f"{MMHAL} --judge-engine gpt", ("gpt",)),
        ("unknown variant", f"{CHAIR} --variant fuzzy", ("fuzzy",)),
        ("unknown benchmark option", f"{CHAIR} --set chair.colour=red", ("colour",)),
        ("an option without value", f"{CHAIR} --set chair.variant", ("chair.variant",)),
        ("an option without benchmark", f"{CHAIR} --set variant=pos_lemma", ("variant=pos_lemma",)),
        ("an option of another benchmark", f"{CHAIR} --set chiar.variant=pos_lemma", ("chiar",)),
        ("a switch that is a word", f"{POPE} --set pope.partial=perhaps", ("perhaps",)),
        ("unknown split", f"{POPE} --set pope.splits=easy", ("easy",)),
        ("unknown dimension", f"{AMBER} --set amber.dimensions=taste", ("taste",)),
        ("limit 0", f"{REPLAY} --limit 0", ("at least 1",)),
        ("limit -1", f"{REPLAY} --limit -1", ("limit",)),
        ("limit of a word", f"{REPLAY} --limit many", ("many",)),
        ("shard 0/2", f"{REPLAY} --shard 0/2", ("0/2",)),
        ("shard 3/2", f"{REPLAY} --shard 3/2", ("3/2",)),
        ("shard 1/0", f"{REPLAY} --shard 1/0", ("1/0",)),
        ("shard of words", f"{REPLAY} --shard one/two", ("one/two",)),
        ("shard without count", f"{REPLAY} --shard 1", ("'1'",)),
        ("shard with odd digits", f"{REPLAY} --shard ²/²", ("²/²",)),
        ("shard of 5000 digits", f"{REPLAY} --shard 1/{DIGITS}", ("--shard",)),
        ("temperature -1", f"{REPLAY} --temperature -1", ("temperature",)),
        ("temperature NaN", f"{REPLAY} --temperature nan", ("temperature",)),
        ("temperature infinite", f"{REPLAY} --temperature inf", ("temperature",)),
        ("top-p 2", f"{REPLAY} --top-p 2", ("top_p",)),
        ("no new tokens", f"{REPLAY} --max-new-tokens 0", ("max-new-tokens",)),
        ("beams with temperature", f"{REPLAY} --num-beams 3 --temperature 1", ("beam",)),
        ("batch size 0", f"{REPLAY} --batch-size 0", ("batch-size",)),
        ("n 0", f"{REPLAY} --n 0", ("--n",)),
        ("seed of a word", f"{REPLAY} --seed one", ("seed",)),
        ("tolerance of a word", f"{CHAIR} --tolerance some", ("tolerance",)),
        ("tolerance NaN", f"{CHAIR} --tolerance nan", ("tolerance",)),
        ("tolerance -1", f"{CHAIR} --tolerance -1", ("tolerance",)),
        ("unknown engine argument", f"{REPLAY} --engine-args colour=red", ("colour",)),
        ("an engine that is not there", f"{REPLAY} --engine absent:make", ("absent",)),
        ("an engine that is not an engine", f"{REPLAY} --engine os:getcwd", ("os:getcwd",)),
        ("engine argument without value", f"{REPLAY} --engine-args colour", ("colour",)),
        ("an engine argument that has a flag", f"{REPLAY} --engine-args path=x", ("path",)),
        ("connections of a word", f"{SERVED} {NOWHERE} --engine-args connections=many", ("connections",)),
        ("a timeout of a word", f"{SERVED} {NOWHERE} --engine-args timeout_s=long", ("timeout_s",)),
        ("extra that is a number", f"{SERVED} {NOWHERE} --engine-args extra=5", ("extra",)),
        ("an address twice", f"{SERVED} {NOWHERE} --engine-args urls=http://x", ("urls",)),
        ("a server's address that is none", f"{SERVED} --base-url nonsense", ("nonsense",)),
        ("a server's address of another kind", f"{SERVED} --base-url ftp://127.0.0.1/v1", ("ftp://127.0.0.1",)),
        ("a port that is none", f"{SERVED} --base-url http://127.0.0.1:99999/v1", ("99999",)),
        ("a torn IPv6 address", f"{SERVED} --base-url http://[::1/v1", ("[::1",)),
        ("a model without a name", f"{SERVED.replace(' m ', ' / ')} {NOWHERE}", ("''",)),
        ("an adapter for a server", f"{SERVED} {NOWHERE} --adapter here", ("adapter",)),
        ("parity of a replay", f"{REPLAY} --check-parity 2", ("check-parity",)),
        ("unknown report format", "report runs --format word", ("word",)),
        ("unknown comparison method", "compare runs/captions/chair runs/second/chair --method magic", ("magic",)),
        ("a budget of words", f"{MMHAL} --budget little", ("little",)),
        ("a budget without price", f"{MMHAL} --budget usd:5", ("price",)),
        ("a price of words", f"{MMHAL} --budget usd:5 --price cheap", ("cheap",)),
        ("arguments for the rules judge", f"{MMHAL} --judge-args a=1", ("rules",)),
        ("unknown doctor", "doctor stool", ("stool",)),
        ("unknown benchmark to list", "list stool", ("stool",)),
    ]
    aborted: list[tuple[str, str, tuple[str, ...]]] = [
        ("no such world", f"{CHAIR[:-5]}absent", ("absent",)),
        ("a file as the world", f"{CHAIR[:-5]}captions.jsonl", ("captions.jsonl",)),
        ("no such data folder", "score pope --responses pope.jsonl --set pope.data=absent", ("absent",)),
        ("unknown asset", "assets verify chair/antonyms.txt", ("chair/antonyms.txt",)),
        ("no such responses to replay", REPLAY.replace("captions.jsonl", "absent.jsonl"), ("absent.jsonl",)),
        ("a server that is not there", f"{SERVED} {NOWHERE}", ("127.0.0.1:1",)),
        ("no attempts", f"{SERVED} --base-url http://127.0.0.1:1/v1 --engine-args attempts=0", ("attempts",)),
        ("a judge that is not there", f"{MMHAL[:-5]}j --judge-base-url http://127.0.0.1:1/v1 --judge-args attempts=1"
         " --label other", ("127.0.0.1:1",)),
        ("no such image ids", f"{CHAIR} --image-ids absent.json", ("absent.json",)),
        ("similarity of an unknown kind", "score amber --responses amber.json --set amber.data=world/amber "
         "--set amber.similarity=magic", ("magic",)),
        ("no such similarity table", "score amber --responses amber.json --set amber.data=world/amber "
         "--set amber.similarity=table:absent.npz", ("absent.npz",)),
        ("a similarity table that is a text", "score amber --responses amber.json --set amber.data=world/amber "
         "--set amber.similarity=table:captions.jsonl", ("captions.jsonl",)),
        ("no such prompt script", "score mmhal --responses mmhal.jsonl --set mmhal.prompt=official "
         f"--set mmhal.prompt_script=absent.py --judge rules --set mmhal.data={TEMPLATE}", ("absent.py",)),
        ("another prompt script", "score mmhal --responses mmhal.jsonl --set mmhal.prompt=official "
         f"--set mmhal.prompt_script=captions.jsonl --judge rules --set mmhal.data={TEMPLATE}", ("captions.jsonl",)),
    ]  # fmt: skip
    return [
        *(Case(f"command line: {what}", command, says, code=USAGE) for what, command, says in usage),
        *(Case(f"command line: {what}", command, says) for what, command, says in aborted),
        Case("command line: a price table that is torn", f"{MMHAL} --budget usd:5 --price price.toml", ("price.toml",),
             put("price.toml", "[rules\n"), USAGE),
        Case("command line: a price table without the model", f"{MMHAL} --budget usd:5 --price price.toml",
             ("price.toml", "'rules'"), put("price.toml", "[other]\n")),
    ]  # fmt: skip


def output_folders() -> list[Case]:
    """Places that cannot be written."""
    return [
        Case("output: a file in the folder's place", f"{CHAIR} --output-path labels.jsonl", ("labels.jsonl",)),
        Case("output: a file in the run's place", CHAIR + " --label blocked", ("runs/blocked/chair",),
             put("runs/blocked/chair", "")),
        Case("output: a read-only file system", f"{CHAIR} --output-path /proc/evalkit", ("/proc/evalkit",)),
        Case("output: a link to nowhere", f"{CHAIR} --output-path nowhere", ("nowhere",), link("nowhere", "/proc/a/b")),
        Case("output: a link to itself", f"{CHAIR} --output-path loop", ("loop",), link("loop", "loop")),
        Case("output: a device that is full", f"{CHAIR} --label full", ("runs/full/chair/responses.jsonl",),
             link("runs/full/chair/responses.jsonl", "/dev/full")),
        Case("output: a name with NUL", f"{CHAIR} --label a\0b", ("a\\x00b",), code=USAGE),
        Case("output: a name that is too long", f"{CHAIR} --label {'a' * 300}", ("aaa",)),
        Case("output: an absolute label", f"{CHAIR} --label /tmp/x", ("/tmp/x",), code=USAGE),
        Case("output: a label that leads out", f"{CHAIR} --label ../outside", ("../outside",), code=USAGE),
        Case("output: a folder in the manifest's place", f"{CHAIR} --label odd", ("runs/odd/chair/run.json",),
             folder("runs/odd/chair/run.json")),
        Case("output: a folder in the records' place", f"{CHAIR} --label odd", ("runs/odd/chair/records.jsonl",),
             folder("runs/odd/chair/records.jsonl")),
        Case("output: a report on a full device", "report runs --output /dev/full", ("/dev/full",)),
        Case("output: the page of a report", "report runs --html /proc/page.html", ("/proc/page.html",)),
        Case("output: an export on a full device", "export runs/captions/chair --format chair --output /dev/full",
             ("/dev/full",)),
    ]  # fmt: skip


def images() -> list[Case]:
    """Image files, as the model's engine meets them."""
    run = "run --model ../tiny --tasks chair --world world --max-new-tokens 4 --label tiny"
    table: list[tuple[str, Spoil, int]] = [
        ("missing", gone(IMAGE), ABORTED),
        ("empty", put(IMAGE, ""), ABORTED),
        ("a text", put(IMAGE, "I am a picture"), ABORTED),
        ("HTML", put(IMAGE, "<html>404</html>"), ABORTED),
        ("truncated", cut(IMAGE), FAILED_SAMPLES),
        ("a folder", folder(IMAGE), ABORTED),
        ("a header only", cut(IMAGE, 0.005), FAILED_SAMPLES),
        ("a bomb", put(IMAGE, bomb_png(60_000, 60_000)), ABORTED),
        ("larger than allowed", put(IMAGE, bomb_png(10_001, 10_000)), ABORTED),
        ("without width", put(IMAGE, bomb_png(0, 10)), ABORTED),
        ("a link out of the folder", link(IMAGE, "/etc/hostname"), ABORTED),
        ("a link to itself", link(IMAGE, IMAGE), ABORTED),
        ("a broken link", link(IMAGE, "absent.png"), ABORTED),
    ]
    name = "COCO_mini_000000000002.png"
    return [
        *(Case(f"image: {what}", run, (name,), spoil, code) for what, spoil, code in table),
        *(Case(f"image for a server: {what}", f"{SERVED} {NOWHERE} --limit 2", (name,), spoil)
          for what, spoil, _ in table if what in ("missing", "a link out of the folder", "a folder")),
    ]  # fmt: skip


def checkpoints() -> list[Case]:
    """Model folders; they are tried on a copy of the tiny checkpoint."""
    run = "run --model model --tasks chair --world world --max-new-tokens 4"
    table: list[tuple[str, Spoil, tuple[str, ...]]] = [
        ("no config", gone("model/config.json"), ("model", "config.json")),
        ("torn config", cut("model/config.json"), ("model",)),
        ("config that is a list", put("model/config.json", "[]"), ("model",)),
        ("a text model's config", put("model/config.json", '{"model_type": "gpt2"}'), ("model", "gpt2")),
        ("unknown kind", put("model/config.json", '{"model_type": "unicorn"}'), ("model",)),
        ("no weights", gone("model/model.safetensors"), ("model",)),
        ("torn weights", cut("model/model.safetensors"), ("model",)),
        ("weights that are a text", put("model/model.safetensors", "weights"), ("model",)),
        ("no tokenizer", gone("model/tokenizer.json"), ("model",)),
        ("torn tokenizer", cut("model/tokenizer.json"), ("model",)),
        ("no processor", gone("model/processor_config.json"), ("model",)),
        ("torn processor", cut("model/processor_config.json"), ("model",)),
    ]
    options: list[tuple[str, str, tuple[str, ...], int]] = [
        ("no such folder", f"{run} --model ./absent", ("./absent",), ABORTED),
        ("no such adapter", f"{run} --adapter absent", ("absent",), ABORTED),
        ("unknown dtype", f"{run} --dtype float7", ("float7",), ABORTED),
        ("unknown device", f"{run} --device toaster", ("toaster",), ABORTED),
        ("unknown device map", f"{run} --engine-args device_map=round", ("device_map",), ABORTED),
        ("a batch size twice", f"{run} --engine-args batch_size=4", ("batch_size",), USAGE),
        ("a batch size that is a word", f"{run} --engine-args batch_size=big", ("batch_size",), USAGE),
        ("a chat template that is broken", f"{run} --engine-args chat_template={{%", ("template",), ABORTED),
    ]
    return [
        *(Case(f"checkpoint: {what}", run, says, spoil) for what, spoil, says in table),
        *(Case(f"checkpoint: {what}", command, says, code=code) for what, command, says, code in options),
    ]
