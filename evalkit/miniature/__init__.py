"""The embedded world: small drawn scenes whose every object is known, with captions and questions about them."""
