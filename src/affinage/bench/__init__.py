"""The bench: training and testing here against the tools that others use, on the same work, in the same run.

Each side of a comparison is a process of its own (`python -m affinage.bench.worker`) that speaks JSON lines over pipes; the two take turns, step by
step or pass by pass. Equality is asserted first: sides that do not compute the same are not timed. Every figure stands beside the number of
tokens that each side put through the model, so that what sharing saves and what engineering saves can be told apart.

    training, evaluation   the two benches, from a study's configuration to a `results.Result`
    material, work         a study's questions as token ids, in one file that both sides read
    comparison, equality   one peer: its fastest set-up, equality, turns
    wire, worker           requests and replies; a side's process
    sides/                 who can be compared, one file each
    study/                 many adapters in cohorts against a process for each
    results, page, machine, memory   JSON and Markdown, with what it ran on and the memory that it took

This file imports none of them: a worker that measures a peer loads what that peer needs.
"""
