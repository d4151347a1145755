"""Training a policy: settings, folder, trainer, checkpoint, log-probabilities."""
