"""Self-contained HTML: the report page, the static site, thumbnails."""
