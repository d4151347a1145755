"""Preference pairs: the file format, encoding, reference log-probabilities, the DPO loss on rows."""
