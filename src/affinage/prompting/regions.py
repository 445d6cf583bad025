"""The region of the world that a place lies in, by the United Nations' geoscheme (M49), as a sentence names it."""

from __future__ import annotations

from collections.abc import Mapping

from affinage.data.place_names import place_names

__all__ = ["region_of"]

_PLACES: Mapping[str, str] = {
    "Northern Africa": "Algeria, Egypt, Morocco, Sudan, Tunisia",
    "Eastern Africa": "Ethiopia, Kenya, Somalia, Tanzania, Uganda, Zimbabwe",
    "Western Africa": "Ghana, Nigeria, Northern Nigeria",
    "Southern Africa": "South Africa",
    "Northern America": "Canada, US",
    "Central America": "Mexico",
    "the Caribbean": "Cuba",
    "South America": "Argentina, Bolivia, Brazil, Chile, Colombia, Ecuador, Peru, Venezuela",
    "Central Asia": "Kazakhstan, Uzbekistan",
    "East Asia": "China, Hong Kong, Japan, Mongolia, North Korea, South Korea, Taiwan",
    "Southeast Asia": "Cambodia, Indonesia, Laos, Malaysia, Myanmar, Philippines, Singapore, Thailand, Vietnam, West Java",
    "South Asia": "Afghanistan, Assam, Bangladesh, India, Iran, Nepal, Pakistan, Sri Lanka",
    "Western Asia": ("Armenia, Azerbaijan, Iraq, Israel, Jordan, Lebanon, Palestine, Saudi Arabia, Syria, Turkey, United Arab Emirates, Yemen"),
    "Eastern Europe": "Bulgaria, Czech Republic, Hungary, Poland, Romania, Russia, Ukraine",
    "Northern Europe": "Denmark, Finland, Ireland, Norway, Sweden, UK",
    "Southern Europe": "Albania, Croatia, Greece, Italy, Portugal, Serbia, Spain",
    "Western Europe": "Austria, Belgium, France, Germany, Netherlands, Switzerland",
    "Oceania": "Australia, New Zealand",
}

_REGIONS = {place: region for region, places in _PLACES.items() for place in places.split(", ")}


def region_of(culture: str, name: str) -> str:
    """The region of a culture's place; empty where it is not listed.

    Args:
        culture: as a source spells it, `South_Korea`.
        name: its name in text, "South Korea".
    """
    return next((_REGIONS[place] for place in place_names(culture, name).places if place in _REGIONS), "")
