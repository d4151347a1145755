"""The table of malformed inputs: what is spoiled, the command that meets it, and what the error must name."""

from tests.endurance.malformed_commands import checkpoints, command_lines, images, output_folders
from tests.endurance.malformed_data import coco_files, other_benchmarks
from tests.endurance.malformed_responses import response_files, response_formats
from tests.endurance.malformed_runs import run_directories

CASES = (
    *response_files(),
    *response_formats(),
    *coco_files(),
    *other_benchmarks(),
    *run_directories(),
    *command_lines(),
    *output_folders(),
)
MODEL_CASES = (*images(), *checkpoints())
