"""Published figures, one TOML file a benchmark; `benchmarks.published_rows` reads them.

[sources.NAME]  where figures come from: paper, version, table, measured_by, judge, direction ("rate": printed as our
                metric; "complement": 100 minus it was printed), evidence ("paper": read there; "figure": read off a
                drawing; "quoted": from a page that quotes it; "memory": a lead only), and optionally settings
[[rows]]        source, model, values (metric -> figure as printed, in the unit of the metric), and
                optionally subset (a part of the benchmark), doubtful (metric -> what is odd about it), note
"""
