"""What the charts' specifications must hold, whatever the number of rows."""

import pandas as pd
import pytest

from dashboard.charts import heat_map, trade_off_chart
from evalkit.metrics import Metric


@pytest.mark.parametrize("count", [1, 12])
def test_every_row_of_the_heat_map_has_its_own_height(count):
    names = [f"object {number}" for number in range(count)]
    cells = pd.DataFrame([{"object": n, "present": "cat", "responses": 1, "images": 4, "share": 25.0} for n in names])
    drawn = heat_map(cells, names).to_dict()
    assert drawn["height"] == {"step": 26}
    (text,) = [layer for layer in drawn["layer"] if layer["mark"]["type"] == "text"]
    assert text["encoding"]["color"]["condition"]["test"] == "datum.share > 15.0000"  # near the scale's dark end


@pytest.mark.parametrize(("dark", "colour"), [(False, "#1b1f24"), (True, "#e6e9ee")])
def test_names_in_the_trade_off_can_be_read_on_its_ground(dark, colour):
    point = {"model": "base", "run": "r", "x": 1.0, "x_low": 0.0, "x_high": 2.0, "y": 1.0, "y_low": 0.0, "y_high": 2.0}
    points = pd.DataFrame([{**point, "words": 3.0, "note": "", "flagged": "sound"}])
    metrics = [Metric(name, f"100 * {name} / n", False) for name in ("a", "b")]
    drawn = trade_off_chart(points, *metrics, dark=dark).to_dict()
    assert [layer["mark"]["color"] for layer in drawn["layer"] if layer["mark"]["type"] == "text"] == [colour]
