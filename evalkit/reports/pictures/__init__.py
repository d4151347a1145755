"""Pictures without a plotting library: a canvas, truncation fronts."""
