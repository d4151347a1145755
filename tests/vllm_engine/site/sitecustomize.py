"""Declares the operators of torchvision's CUDA library, which is not there on a CPU: its image transforms need none.

Python imports this file in every process that has its folder on PYTHONPATH (`make test-vllm`), before torchvision.
"""

import importlib.util

if importlib.util.find_spec("torchvision") is not None:
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
