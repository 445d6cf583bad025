"""What batches that share much do to learning, per step and per second: the same training with different numbers of questions per template.

bench            the whole: every variant from every seed, one training after another (`bench.held_out.course`)
readings         where the variants stood at equal steps and at equal seconds, and how they differ from the first
result           JSON and Markdown
figure           curves
"""
