"""What batches that share much do to learning, per step and per second: the same training with different numbers of questions per template.

bench            the whole: every variant from every seed (`bench.learning`)
readings         where the variants stood at equal steps and at equal seconds, and how they differ from the first
result, figure   JSON and Markdown, curves
"""
