"""The reward model: its data, facts, training."""
