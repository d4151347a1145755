"""Files: rows in any format, atomic writes, caches, pinned assets."""
