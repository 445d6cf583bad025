"""Seconds to the same held-out loss: TRL's trainer as it comes, with the reference study's settings, against a training here with our defaults.

bench            the whole: both sides' trainings, seed by seed (`bench.learning`)
targets          the losses that both are held against, and the ratios of times
result, figure   JSON and Markdown, curves
"""
