"""How alike the adapters of different cultures are, from what `affinage analyse` left on disk, beside what chance makes of one culture."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import polars as pl

from affinage.report.cells import Cells
from affinage.report.language import say
from affinage.report.similarity_figures import Drawn, similarity_figure
from affinage.report.table import Picture, Section, Table
from affinage.report.words import decimal, many, named, number, p_value, shown, slug
from affinage.store import AnalysisRecord, StudyRecord, read_analysis

__all__ = ["measure_name", "section"]

_KINDS = ("cultures", "start", "split", "untouched")
_FLOORS = ("start", "split")
_FIRST = ("answers", "correlation")
"""Of what, and by which measure, the figure and the first sentence speak."""

_OF: Mapping[str, Callable[[], str]] = {
    "answers": lambda: say("answers"),
    "states": lambda: say("last states"),
    "tensor": lambda: say("tensors"),
    "displacement": lambda: say("way from the start"),
    "product": lambda: say("low-rank updates"),
}
_MEASURES: Mapping[str, Callable[[], str]] = {
    "correlation": lambda: say("correlation of option scores"),
    "agreement": lambda: say("share answered alike"),
    "kappa": lambda: say("Cohen's kappa"),
    "jensen-shannon": lambda: say("Jensen-Shannon distance (0: alike)"),
    "cka": lambda: say("debiased CKA"),
    "whole": lambda: say("cosine of everything"),
    "mean by module": lambda: say("cosine, mean over modules"),
    "mean tokens": lambda: say("cosine of mean tokens"),
    "mean pairwise": lambda: say("mean pairwise cosine of tokens"),
    "matched": lambda: say("cosine of matched tokens"),
}


def measure_name(of: str, measure: str) -> str:
    """`answers: correlation of option scores`."""
    return say("{what}: {measure}", what=_OF[of](), measure=_MEASURES[measure]())


def section(cells: Cells) -> Section | None:
    """What `affinage analyse --only similarity` left; None where it was not run."""
    study = cells.evidence.study
    read = read_analysis(study.folder, "similarity")
    if read is None or "pairs" not in read[1]:
        return None
    record, frames = read
    pairs = frames["pairs"]
    labels = tuple(dict.fromkeys(pairs["label"]))
    tables = [_measures_table(label, pairs.filter(pl.col("label") == label)) for label in labels]
    tables += [_relations_table(frames["correlation"])] if "correlation" in frames else []
    tables += list(_vocabulary_tables(frames["vocabulary"])) if "vocabulary" in frames else []
    pictures = tuple(_picture(drawn) for label in labels if (drawn := _drawn(study, frames, label)) is not None)
    csv = tuple((f"similarity-{name}", _flat(frame)) for name, frame in frames.items())
    return Section("similarity", (), tuple(tables), say("Similarity of the adapters"), _text(study, record), pictures, csv)


def _text(study: StudyRecord, record: AnalysisRecord) -> str:
    """What is compared, and what a similarity does and does not mean."""
    said = [
        say(
            "Adapters of different cultures with the same split and start, compared by what they answer to the same questions first, by their "
            "tensors second. A similarity says nothing by itself: all of them learned the same form of question. So it stands beside its floors, the "
            "same measure between two trainings for one culture (from another start; on another split), and beside an adapter's similarity with the "
            "untouched model."
        ),
        say(
            "Two cultures as alike as two trainings for one culture are: these questions and this training do not tell their adapters apart. That "
            "does not make the cultures alike. Two cultures less alike than that: their adapters answer differently. That does not say why; their "
            "training questions and right options differ, too. No order of cultures, and no nearest one, follows from the means below."
        ),
        say(
            "Tensors are compared between adapters of one start only, as they are and by the way that training took them; starts depend on the "
            "split, so that on tensors another split is another start as well. CKA is taken over questions, never over a prompt's own vectors: there "
            "two random prompts come near 1."
        ),
    ]
    now = tuple(run.run for run in study.runs if run.status == "finished")
    if set(now) != set(record.runs):
        said.append(
            say(
                "Made when {before} were finished; {now} are by now. Run affinage analyse again.",
                before=many(len(record.runs), "run"),
                now=many(len(now), "run"),
            )
        )
    return "\n\n".join(said)


def _measures_table(label: str, pairs: pl.DataFrame) -> Table:
    """Every measure of one method, beside its floors."""
    rows: list[tuple[str, ...]] = []
    rules: list[int] = []
    before = ""
    places = [(of, measure) for of in _OF for measure in _MEASURES]
    for of, measure in sorted(pairs.select("of", "measure").unique().iter_rows(), key=places.index):
        own = pairs.filter((pl.col("of") == of) & (pl.col("measure") == measure))
        if before and of != before:
            rules.append(len(rows))
        before = of
        rows.append((measure_name(of, measure), *(_range(own.filter(pl.col("pair") == kind)["value"]) for kind in _KINDS)))
    header = ("", say("two cultures"), say("one culture, another start"), say("one culture, another split"), say("with the untouched model"))
    asked = pairs.filter((pl.col("of") == "answers") & (pl.col("pair") == "cultures"))
    told = "" if asked.is_empty() else say("Two cultures are compared on {questions}.", questions=_span(asked["questions"]))
    text = say("Mean over pairs of runs (lowest to highest; pairs). Every template of every tested culture weighs alike.")
    title = say("{method}: similarity and its floors", method=named(label))
    return Table(f"similarity-{slug(label)}", title, f"{text} {told}".strip(), header, tuple(rows), tuple(rules), tuple(_notes(pairs)))


def _span(counts: pl.Series) -> str:
    """`96 questions`, or `90 to 96 questions`."""
    low, high = min(counts.to_list()), max(counts.to_list())
    last = many(high, "question")
    return last if low == high else say("{low} to {high}", low=number(low), high=last)


def _range(values: pl.Series) -> str:
    """`0.91 (0.88 to 0.94; 12)`; empty where there is no pair."""
    found = sorted(values.to_list())
    if not found:
        return ""
    mean = decimal(sum(found) / len(found), 2)
    return say("{mean} ({low} to {high}; {count})", mean=mean, low=decimal(found[0], 2), high=decimal(found[-1], 2), count=number(len(found)))


def _notes(pairs: pl.DataFrame) -> Iterator[str]:
    """How many pairs of cultures are as alike as two trainings for one culture are, or that nothing says so."""
    own = pairs.filter((pl.col("of") == _FIRST[0]) & (pl.col("measure") == _FIRST[1]))
    between = own.filter(pl.col("pair") == "cultures")["value"]
    floors = {kind: own.filter(pl.col("pair") == kind)["value"] for kind in _FLOORS}
    texts = {
        "start": lambda count, of: say(
            "Option scores: {count} of {pairs} are at least as alike as two starts of one culture are on the mean.", count=count, pairs=of
        ),
        "split": lambda count, of: say(
            "Option scores: {count} of {pairs} are at least as alike as two splits of one culture are on the mean.", count=count, pairs=of
        ),
    }
    if between.is_empty():
        return
    for kind, values in floors.items():
        if not values.is_empty():
            mean = sum(values.to_list()) / len(values)
            yield texts[kind](number(int((between >= mean).sum())), many(len(between), "pair"))
    if all(values.is_empty() for values in floors.values()):
        yield say(
            "No floor: the study has no second start, and no question that the test sides of two splits share. Nothing says how alike two "
            "trainings for one culture would answer."
        )


def _relations_table(found: pl.DataFrame) -> Table:
    """Every measure's correlation with transfer, and with the distances that the user brought."""
    rows = []
    for row in found.iter_rows(named=True):
        against = say("transfer") if row["against"] == "transfer" else str(row["against"])
        p, corrected = (p_value(row[name]) for name in ("p", "p_holm"))
        tried = number(row["relabellings"]) if row["exact"] else say("{count} drawn", count=number(row["relabellings"]))
        what = measure_name(row["of"], row["measure"])
        rows.append((named(row["label"]), what, against, decimal(row["correlation"], 2), p, corrected, number(row["cultures"]), tried))
    header = (
        say("method"),
        say("measure"),
        say("against"),
        say("correlation"),
        say("p"),
        say("p, Holm"),
        say("cultures"),
        say("relabellings"),
    )
    text = say(
        "Correlation over pairs of cultures of how alike two adapters are (mean over splits and starts) with transfer, or with a table of distances. "
        "Transfer is the accuracy of one culture's adapter on the other culture, both ways averaged, without what an adapter or a tested culture has "
        "in general; the measure likewise. Two-sided p: share of the relabellings of cultures with a correlation as far from zero (Mantel). Holm's "
        "correction is over the measures of a method against one table. With {few} cultures no p can be below {least}.",
        few=number(4),
        least=p_value(1 / 24),
    )
    return Table("similarity-relations", say("Similarity beside transfer and distances"), text, header, tuple(rows))


def _vocabulary_tables(words: pl.DataFrame) -> Iterator[Table]:
    """The nearest token of each virtual token, first split and start, in the appendix."""
    for (label,), whole in words.group_by("label", maintain_order=True):
        split, start = whole["split"][0], whole["start"][0]
        own = whole.filter((pl.col("split") == split) & (pl.col("start") == start) & (pl.col("rank") == 1))
        cultures = tuple(dict.fromkeys(own["culture"]))
        rows = []
        for (token,), line in own.group_by("token", maintain_order=True):
            by = {row["culture"]: row for row in line.iter_rows(named=True)}
            nearest = (f"{by[culture]['text']!r} {decimal(by[culture]['cosine'], 2)}" if culture in by else "" for culture in cultures)
            rows.append((number(int(str(token)) + 1), repr(line["began"][0]), *nearest))
        same = float(str((own["text"] == own["began"]).mean()))
        text = say(
            "The token of the vocabulary whose embedding is nearest by cosine to each virtual token, and the one that it began as ({split}, start "
            "{start}). These words explain nothing: for almost any text a prompt can be found that lies nearest to that very text and solves a task "
            "that the text does not name (Khashabi et al. 2022, prompt waywardness).",
            split=split,
            start=start,
        )
        notes = (
            say(
                "{share} % of the virtual tokens still lie nearest to the token that they began as.",
                share=number(100 * same, ".0f"),
            ),
        )
        header = (say("virtual token"), say("began as"), *map(shown, cultures))
        title = say("{method}: nearest tokens of the vocabulary", method=named(str(label)))
        yield Table(f"similarity-tokens-{slug(str(label))}", title, text, header, tuple(rows), (), notes, appendix=True)


def _drawn(study: StudyRecord, frames: Mapping[str, pl.DataFrame], label: str) -> Drawn | None:
    """What the figure of a method shows; None for fewer than three cultures."""

    def own(name: str) -> pl.DataFrame | None:
        frame = frames.get(name)
        chosen = (
            None
            if frame is None
            else frame.filter(pl.all_horizontal(pl.col("label") == label, pl.col("of") == _FIRST[0], pl.col("measure") == _FIRST[1]))
        )
        return None if chosen is None or chosen.is_empty() else chosen

    pairs = own("pairs")
    between = None if pairs is None else pairs.filter(pl.col("pair") == "cultures")
    there = set() if between is None else {*between["culture_a"], *between["culture_b"]}
    if pairs is None or between is None or len(there) < 3:
        return None
    mean = between.group_by("culture_a", "culture_b").agg(pl.col("value").mean())
    values = {frozenset(row[:2]): row[2] for row in mean.iter_rows()}
    floor = pairs.filter(pl.col("pair") == "start")["value"].to_list()
    cultures = tuple(culture for culture in study.plan.cultures if culture in there)
    return Drawn(label, cultures, values, sum(floor) / len(floor) if floor else None, own("tree"), own("map"))


def _picture(drawn: Drawn) -> Picture:
    """The figure of a method."""
    name = named(drawn.label)
    return Picture(
        f"similarity-{slug(drawn.label)}",
        say("{method}: which cultures' adapters answer alike", method=name),
        say(
            "Correlation of option scores, mean over splits and starts: every pair of cultures; the same as a tree (average linkage) and as a map "
            "(classical scaling), whose axes have no meaning of their own. Both always show groups, also where chance alone has made them: read them "
            "beside the floors in the table."
        ),
        say("Table, tree and map of the correlations of option scores between the adapters of {method}.", method=name),
        partial(similarity_figure, drawn),
    )


def _flat(frame: pl.DataFrame) -> pl.DataFrame:
    """A table that CSV can hold: lists of names as one text."""
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List)]
    return frame.with_columns(pl.col(name).list.join("; ") for name in lists)
