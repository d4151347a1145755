"""Property tests here run tensors: fewer examples, no deadline (the first call of an operation is slow)."""

from hypothesis import settings

settings.register_profile("aligners", deadline=None, max_examples=40)
settings.load_profile("aligners")
