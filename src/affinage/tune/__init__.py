"""A search of settings: the same budget for every method, on a validation side cut from each split's training templates."""

from affinage.tune.making import SearchEvent
from affinage.tune.outcome import Outcome, Searched
from affinage.tune.search import tune
from affinage.tune.settings import SearchConfig

__all__ = ["Outcome", "SearchConfig", "SearchEvent", "Searched", "tune"]
