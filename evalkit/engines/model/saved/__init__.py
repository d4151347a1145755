"""Writing checkpoints: in transformers' format, under the names that vLLM reads too."""
