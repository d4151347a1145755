"""Settings files for training on several devices, one per strategy.

    accelerate launch --config_file <file> --module evalkit align ddpo ...
    torchrun --nproc_per_node 8 --module evalkit align ddpo ...         (DDP needs no file)

    ddp.yaml          one copy of the model per device; LoRA, or full training of a model that fits with its optimiser
    fsdp.yaml         parameters, gradients and optimiser state sharded (FSDP 2); one node
    zero2.yaml        DeepSpeed ZeRO-2: gradients and optimiser state sharded
    zero3.yaml        DeepSpeed ZeRO-3: parameters too

Set num_processes to your GPUs. DDP is tested with two processes; FSDP and DeepSpeed need GPUs and are not covered by
the tests.
"""
