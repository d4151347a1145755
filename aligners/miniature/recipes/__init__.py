"""The three methods on the miniature base, and the data each is given."""
