"""The profiles as accelerate reads them; FSDP also trains, see test_ddpo.py."""

from unittest.mock import patch

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.commands.launch import launch_command, launch_command_parser
from accelerate.utils import DeepSpeedPlugin, DistributedType
from accelerate.utils.launch import prepare_deepspeed_cmd_env

from aligners.profiles import PROFILES, profile

KINDS = {
    "ddp": DistributedType.MULTI_GPU,
    "fsdp": DistributedType.FSDP,
    "zero2": DistributedType.DEEPSPEED,
    "zero3": DistributedType.DEEPSPEED,
}


@pytest.mark.parametrize("name", PROFILES)
def test_accelerate_knows_every_key(name):
    assert load_config_from_file(str(profile(name))).distributed_type == KINDS[name]  # refuses unknown keys
    content = yaml.safe_load(profile(name).read_text())
    known = set(vars(launch_command_parser().parse_args(["train.py"])))
    for section in ("fsdp_config", "deepspeed_config"):
        assert set(content.get(section, {})) <= known


@pytest.mark.parametrize(("name", "stage"), [("zero2", 2), ("zero3", 3)])
def test_deepspeed_gets_the_stage_from_the_profile_and_leaves_the_batch_to_the_training_settings(name, stage):
    words = ["--config_file", str(profile(name)), "--num_processes", "2", "train.py"]
    with patch("accelerate.commands.launch.deepspeed_launcher") as launcher:
        launch_command(launch_command_parser().parse_args(words))
    _, environment = prepare_deepspeed_cmd_env(launcher.call_args.args[0])
    with patch.dict("os.environ", environment):
        config = DeepSpeedPlugin().hf_ds_config
    assert config.get_value("zero_optimization.stage") == stage
    assert config.is_offload() is False
    assert config.get_value("zero_optimization.stage3_gather_16bit_weights_on_model_save") is (stage == 3)
    for name in ("train_batch_size", "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"):
        assert config.get_value(name) == "auto"
