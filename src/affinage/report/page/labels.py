"""Words of the page itself, by name, for its template."""

from __future__ import annotations

from affinage.report.language import say

__all__ = ["labels"]


def labels() -> dict[str, str]:
    """Every fixed word of the page in the report's language."""
    return {
        "skip": say("To the content"),
        "contents": say("Contents"),
        "provisional": say("Provisional"),
        "colon": say(": "),
        "semicolon": say("; "),
        "answers": say("Three questions, three sentences"),
        "by_method": say("Method by method"),
        "pooled": say("Pooled over cultures and splits"),
        "differences": say("Differences, with their intervals"),
        "differences_text": say(
            "One line per method and culture, and the pooled one. Differences in points by template, paired by question, with 95 % intervals over "
            "template groups; each interval belongs to its own line and is not widened for there being many. The scale is the same everywhere."
        ),
        "filled": say("the whole interval is on one side of zero"),
        "hollow": say("the interval contains zero, or there is none"),
        "diamond": say("pooled"),
        "culture": say("culture"),
        "drawn": say("drawn"),
        "difference": say("difference"),
        "interval": say("95 % interval"),
        "tables": say("Tables"),
        "maps": say("Every adapter on every culture"),
        "maps_text": say(
            "Accuracy in percent by template, mean over runs, below it the sample deviation. The darker, the higher; the scale is the same for every "
            "method. Framed: an adapter on its own culture. The numbers with their runs stand in the tables of every pair."
        ),
        "maps_hint": say("Point at a cell, or go to it with Tab and the arrow keys, for its interval, questions and templates."),
        "trained_on": say("trained on"),
        "scale": say("Scale"),
        "chance": say("chance"),
        "training": say("Training"),
        "curves": say("Learning curve"),
        "beside": say("What stands beside: baselines, controls, analyses"),
        "cost": say("Cost"),
        "meaning": say("What a culture means here"),
        "limits": say("What a score does not say"),
        "provenance": say("What made these numbers"),
        "terms": say("Terms of the data"),
        "numbers_only": say("This report holds numbers only, none of the data's text."),
        "appendix": say("Appendix"),
        "by_row": say("By row, as the reference study counts"),
        "greedy": say("Right only if the greedy first token is the right letter"),
        "files": say("Files beside this page"),
        "files_text": say(
            "Every number stands as CSV in `csv/` and in `report.json`, every table as LaTeX in `latex/`, every figure as SVG and PNG in `figures/`, "
            "and all of it as Markdown in `report.md`."
        ),
    }
