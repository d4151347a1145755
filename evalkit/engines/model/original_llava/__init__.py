"""LLaVA folders as the authors' own code writes them, loaded into transformers' LLaVA classes without remote code.

    liuhaotian/llava-v1.5-7b, openbmb/RLAIF-V-7B, zhiqings/LLaVA-RLHF-..., LoRA folders of HALVA, HA-DPO, POVID, ...

Source: github.com/haotian-liu/LLaVA at c121f0432da27facab705978f83c4ada465e46fd (Liu et al. 2023, arXiv:2304.08485 and
arXiv:2310.03744). A forward pass here gives that code's numbers bit for bit; docs/checkpoints.md says what is covered.

    folders        what a folder is, told by its content; what lies over what (base, adapter, projector)
    configuration  the flat config.json -> LlavaConfig or LlavaNextConfig; what cannot be converted is refused by name
    names          weight names -> transformers' names
    towers         which vision tower, where its configuration, weights and image settings come from
    vocabulary     tokenizer with the original's ids, spare id of the image token, processor
    conversations  chat templates of the conversation versions
    identity       the second layer of a one-layer projector
    adapters       LoRA, non-LoRA weights and projectors put on a base
    assembly       all of it put together
"""
