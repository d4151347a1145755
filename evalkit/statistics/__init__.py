"""Statistics of summed counts: intervals, paired tests, power, agreement."""
