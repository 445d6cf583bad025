"""Charts of the page that a reader can ask for details: heat maps and forest plots, as what a template draws."""

from affinage.report.charts.forest import Forest, Group, Mark, forest_figure, forests
from affinage.report.charts.heat import HeatCell, HeatMap, HeatRow, heat_maps

__all__ = ["Forest", "Group", "HeatCell", "HeatMap", "HeatRow", "Mark", "forest_figure", "forests", "heat_maps"]
