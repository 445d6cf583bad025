"""How much the model looks at an adapter's virtual tokens, from what `affinage analyse` left on disk."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import matplotlib as mpl
import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from affinage.report.cells import Cells
from affinage.report.figures import INK, STYLE
from affinage.report.language import say
from affinage.report.places import read_places
from affinage.report.table import Picture, Section, Table
from affinage.report.words import base, bounds, many, named, number, percent
from affinage.stats import Estimate
from affinage.store import read_analysis

__all__ = ["Depth", "depths", "section"]

_PLACES = ("question", "answer")
_CELL = ["run", "label", "culture", "state", "place", "layer"]
_COLOURS = {"question": "#1b4f8a", "answer": "#c06000"}
_MARKERS = {"question": "o", "answer": "s"}


@dataclass(frozen=True, slots=True)
class Depth:
    """Some layers of a method's adapters, seen from one place; mean over adapters and layers."""

    label: str
    place: str
    """`question` or `answer`: where the queries stand."""
    layers: tuple[int, ...]
    """Counted from 0."""
    share: Estimate
    """Of the attention on virtual tokens."""
    level: float
    """The share that equal weights would give."""
    start: Estimate | None
    """The share under what the adapters were trained from; None where the study has no finished start."""

    @property
    def times(self) -> float:
        """Share by level: 1 where virtual tokens are looked at as everything is."""
        return self.share.value / self.level


def depths(rows: pl.DataFrame, parts: Mapping[str, Sequence[Sequence[int]]]) -> tuple[Depth, ...]:
    """Shares of attention, each adapter, layer and template alike, with intervals over template groups.

    Args:
        rows: the analysis's table `layers`.
        parts: label -> sets of layers.
    """
    found = read_places(rows, _CELL, "share")
    levels = dict(found.points.join(rows.group_by(_CELL).agg(pl.col("level").mean()), on=_CELL).select("cell", "level").iter_rows())
    own: dict[tuple[str, str, str, int], list[int]] = defaultdict(list)
    for label, state, place, layer, cell in found.points.select("label", "state", "place", "layer", "cell").iter_rows():
        own[label, state, place, layer].append(cell)
    wanted = [(label, place, tuple(layers)) for label, sets in parts.items() for layers in sets for place in _PLACES]
    cells = {
        state: [[cell for layer in layers for cell in own[label, state, place, layer]] for label, place, layers in wanted]
        for state in ("trained", "start")
    }
    shares, starts = (found.estimates([dict.fromkeys(each, 1.0 / len(each)) for each in sets if each]) for sets in cells.values())
    began = iter(starts)
    return tuple(
        Depth(*key, share, statistics.fmean(levels[cell] for cell in trained), next(began) if start else None)
        for key, share, trained, start in zip(wanted, shares, cells["trained"], cells["start"], strict=True)
    )


def section(cells: Cells) -> Section | None:
    """What `affinage analyse --only attention` left; None where it was not run, or no adapter has virtual tokens."""
    read = read_analysis(cells.evidence.study.folder, "attention")
    if read is None or "layers" not in read[1]:
        return None
    rows = read[1]["layers"]
    counts = {label: int(str(own["layer"].max())) + 1 for (label,), own in rows.group_by("label", maintain_order=True)}
    thirds = {str(label): _thirds(layers) for label, layers in counts.items()}
    single = {str(label): [(layer,) for layer in range(layers)] for label, layers in counts.items()}
    by_layer = depths(rows, single)
    text = say(
        "The share of a layer's attention that lies on an adapter's virtual tokens or slots, on the adapter's own culture's test questions, mean "
        "over heads. It says where a layer reads, not what it does with what it reads; and models look at whatever stands first, trained or not, so "
        "the share under the start that training began from stands beside it."
    )
    table = _table(depths(rows, {label: [range(counts[label]), *parts] for label, parts in thirds.items()}), counts)
    csv = (("attention-layers", _frame(by_layer)), *_lists(rows))
    return Section("attention", (), (table,), say("Attention to the prompt"), text, (_picture(by_layer), _token_picture(rows)), csv)


def _thirds(layers: int) -> list[range]:
    """The first, the middle and the last third of the layers, as even as they go; fewer parts where there are fewer layers."""
    cuts = [round(layers * part / 3) for part in range(4)]
    return [range(low, high) for low, high in pairwise(cuts) if high > low]


def _table(found: Sequence[Depth], counts: Mapping[str, int]) -> Table:
    """All layers and thirds of each method."""
    rows: list[tuple[str, ...]] = []
    rules = []
    for question, answer in zip(found[::2], found[1::2], strict=True):
        layers = question.layers
        whole = len(layers) == counts[question.label]
        if whole:
            rules.append(len(rows))
        part = say("all layers") if whole else say("layers {first} to {last}", first=layers[0] + 1, last=layers[-1] + 1)
        numbers = [text for each in (question, answer) for text in _numbers(each)]
        rows.append((f"{named(question.label)}, {part}", *numbers, base(question.share)))
    header = (say("layers"), *(said for place in _PLACES for said in _header(place)), say("rests on"))
    text = say(
        "Attention on virtual tokens in percent, mean over adapters and layers, seen from the question's own tokens and from the tokens whose "
        "probabilities are read, with 95 % intervals over template groups; behind it, how many times as much as if all that a token sees had the "
        "same weight."
    )
    return Table("attention", say("Attention on virtual tokens"), text, header, tuple(rows), tuple(rules[1:]))


def _header(place: str) -> Iterator[str]:
    """Column heads of one place."""
    yield say("from the question") if place == "question" else say("from the answer")
    yield say("95 % interval")
    yield say("at the start")
    yield say("times equal weights")


def _numbers(depth: Depth) -> Iterator[str]:
    """Share, interval, and times the level."""
    yield percent(depth.share.value)
    yield bounds(depth.share, percent)
    yield "" if depth.start is None else percent(depth.start.value)
    yield number(depth.times, ".2f")


def _frame(found: Sequence[Depth]) -> pl.DataFrame:
    """A line per method, place and layer; shares are fractions, layers counted from 0."""
    lines = [
        {
            "label": each.label,
            "place": each.place,
            "layer": each.layers[0],
            "share": each.share.value,
            "low": each.share.low,
            "high": each.share.high,
            "share_at_start": None if each.start is None else each.start.value,
            "level": each.level,
            "questions": each.share.questions,
            "templates": each.share.templates,
            "effective_groups": each.share.effective,
        }
        for each in found
    ]
    return pl.DataFrame(lines)


def _lists(rows: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """CSV files of the shares per query head and per virtual token, mean over adapters and questions; both counted from 0."""
    for name, one in (("heads", "head"), ("tokens", "token")):
        numbered = rows.filter(pl.col("state") == "trained").with_columns(pl.int_ranges(pl.col(name).list.len()).alias(one)).explode(one, name)
        means = numbered.group_by("label", "place", "layer", one, maintain_order=True).agg(pl.col(name).mean().alias("share"))
        yield f"attention-{name}", means


def _picture(found: Sequence[Depth]) -> Picture:
    """Layer by layer."""
    text = say(
        "One panel per method. Bands are 95 % intervals over template groups, of each layer by itself; dotted, before training; dashed, what equal "
        "weights would give."
    )
    alternative = say("Share of attention on virtual tokens by layer; the numbers are those of the table of attention.")
    return Picture("attention-layers", say("Attention on virtual tokens, layer by layer"), text, alternative, partial(_layers_figure, found))


def _layers_figure(found: Sequence[Depth]) -> Figure:
    """A panel per method, a line per place, dotted before training, dashed the level."""
    labels = tuple(dict.fromkeys(each.label for each in found))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.6 * len(labels), 3.4), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(labels), sharey=True, squeeze=False)[0]
        names = {"question": say("from the question"), "answer": say("from the answer")}
        for axes, label in zip(panels, labels, strict=True):
            for place in _PLACES:
                own = [each for each in found if (each.label, each.place) == (label, place)]
                across, colour = [each.layers[0] + 1 for each in own], _COLOURS[place]
                axes.plot(across, [100 * each.share.value for each in own], color=colour, marker=_MARKERS[place], markersize=3, label=names[place])
                began = [math.nan if each.start is None else 100 * each.start.value for each in own]
                axes.plot(across, began, color=colour, linestyle=(0, (1, 1.5)), linewidth=1.3, label=say("{line}, at the start", line=names[place]))
                equal = say("{line}, equal weights", line=names[place])
                axes.plot(across, [100 * each.level for each in own], color=colour, linestyle=(0, (5, 2)), linewidth=0.8, label=equal)
                known = [
                    (x, 100 * e.share.low, 100 * e.share.high)
                    for x, e in zip(across, own, strict=True)
                    if e.share.low is not None and e.share.high is not None
                ]
                if known:
                    axes.fill_between(
                        [x for x, _, _ in known], [y for _, y, _ in known], [y for _, _, y in known], color=colour, alpha=0.15, linewidth=0
                    )
            axes.set_title(named(label), fontsize=10, color=INK)
            axes.set_xlabel(say("layer"), fontsize=9, color=INK)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_ylim(bottom=0)
            axes.spines[["top", "right"]].set_visible(False)
        panels[0].set_ylabel(say("attention on virtual tokens (%)"), fontsize=9, color=INK)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _token_picture(rows: pl.DataFrame) -> Picture:
    """Layer by layer and token by token."""
    count = many(rows["run"].n_unique(), "adapter")
    text = say("Seen from the tokens whose probabilities are read, mean over heads, questions and {adapters}; the darker, the more.", adapters=count)
    alternative = say("Maps of the attention on each virtual token in each layer; the numbers are those of the file attention-tokens.csv.")
    return Picture("attention-tokens", say("Attention on each virtual token"), text, alternative, partial(_tokens_figure, rows))


def _tokens_figure(rows: pl.DataFrame) -> Figure:
    """A map per method: layers down, virtual tokens across; lightness falls with the share."""
    table = dict(_lists(rows))["attention-tokens"].filter(pl.col("place") == "answer")
    labels = tuple(dict.fromkeys(table["label"]))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.0 + 3.6 * len(labels), 3.8), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(1, len(labels), squeeze=False)[0]
        for axes, label in zip(panels, labels, strict=True):
            own = table.filter(pl.col("label") == label).sort("layer", "token")
            values = 100 * own["share"].to_numpy().reshape(own["layer"].n_unique(), -1)
            high, wide = values.shape
            image = axes.imshow(values, aspect="auto", cmap="Greys", vmin=0, extent=(0.5, wide + 0.5, high + 0.5, 0.5), interpolation="nearest")
            figure.colorbar(image, ax=axes, fraction=0.05, pad=0.02).set_label(say("share (%)"), fontsize=8, color=INK)
            axes.set_title(named(label), fontsize=10, color=INK)
            axes.set_xlabel(say("virtual token"), fontsize=9, color=INK)
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(MaxNLocator(integer=True))
        panels[0].set_ylabel(say("layer"), fontsize=9, color=INK)
    return figure
