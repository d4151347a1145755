"""Training on several processes: what one works out for all, weights in shards, whether a run changed any."""
