"""What a training run will take, before anything is loaded: memory per device, steps, tokens, hours."""
