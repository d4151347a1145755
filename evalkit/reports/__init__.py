"""Reports: tables, pages, comparisons, model cards."""
