"""One file per page; thin: pick, call, show."""
