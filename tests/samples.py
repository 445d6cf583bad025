"""A question that several tests ask."""

from __future__ import annotations

from affinage.records import MCQ

QUESTION = MCQ(
    mcq_id="food-1",
    template_id="food",
    culture="South_Korea",
    topic="food",
    question="What do people in South Korea eat for breakfast?",
    options=("rice", "bread and oil", "porridge", "cornflakes"),
    option_cultures=("South_Korea", "Spain", "UK", "US"),
    answer=0,
)
