"""Cultural questions: sources, the builder, template groups, splits, and the word-country association that every result stands beside.

A new data set is one new file in this folder that adds its `Source` to `sources`; nothing else names it.
"""

from __future__ import annotations

import importlib
import pkgutil

import polars as pl

from affinage.config import DataConfig
from affinage.data.association import answer_seen, association
from affinage.data.base import COLUMNS, Dataset, Source, Terms, sources
from affinage.data.groups import template_groups
from affinage.data.splits import make_splits, split_table
from affinage.records import UserError

__all__ = [
    "COLUMNS",
    "Dataset",
    "Source",
    "Terms",
    "answer_seen",
    "association",
    "describe",
    "load",
    "make_splits",
    "sources",
    "split_table",
    "template_groups",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

_SHOWN = 10


def load(config: DataConfig, *, quarantine: bool = False) -> Dataset:
    """The questions that a study asks for.

    Args:
        config: source, path, cultures, clash test, cap.
        quarantine: go on without the malformed rows and leave them in `faults`, instead of refusing the source.

    Raises:
        UserError: an unknown source or culture, a file that is not there or cannot be read, or malformed rows: a study on silently
            reduced data would answer another question than the one asked.
    """
    dataset = sources.get(config.source).read(config)
    if dataset.faults and not quarantine:
        first = "\n".join(f"  {fault}" for fault in dataset.faults[:_SHOWN])
        raise UserError(
            f"data source {config.source} ({config.path})" if config.path else f"data source {config.source}",
            f"{len(dataset.faults)} malformed rows",
            "none",
            f"Mend them, or set them aside with `affinage data build --quarantine`. The first:\n{first}",
        )
    if config.cultures is None and config.rows_per_template is None:
        return dataset
    return dataset.select(cultures=config.cultures, rows_per_template=config.rows_per_template)


def describe() -> pl.DataFrame:
    """One row per source for `affinage data ls`: columns `source, what, path, licence, citation, url, restrictions`."""
    known = [sources.get(name) for name in sources]
    return pl.DataFrame(
        [
            {
                "source": source.name,
                "what": source.what,
                "path": source.path,
                "licence": source.terms.licence,
                "citation": source.terms.citation,
                "url": source.terms.url,
                "restrictions": source.terms.restrictions,
            }
            for source in known
        ]
    )
