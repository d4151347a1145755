"""What the pages read from disk, cached."""
