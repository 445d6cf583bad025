"""The bench: training and testing here against the tools that others use, on the same work, in the same run.

Each side of a comparison is a process of its own that speaks JSON lines over pipes. Where two sides do the same work, equality is asserted first:
sides that do not compute the same are not timed. Every figure stands beside the number of tokens that each side put through the model, so that what
sharing saves and what engineering saves can be told apart.

    affinage bench train   training                    optimiser steps; with `products`, `needed`, `share`: what of a step is matrix products
    affinage bench eval    evaluation                  passes over a test set
    affinage bench study   study/                      many adapters in cohorts against a process for each
    affinage bench loss    loss/, on learning/         seconds to the same held-out loss, TRL and here
    affinage bench sharing sharing/, on learning/      what sharing within a batch does to learning

What they are made of:

    material, work         a study's questions as token ids, in one file that both sides read
    comparison, equality   one peer: its fastest set-up, equality, turns
    wire, worker           requests and replies; the process of a side of `train` and `eval`
    sides/                 who can be compared there, one file each
    learning/              one training after another, measured after every few steps on held-out questions
    results, page, machine, memory   JSON and Markdown, with what it ran on and the memory that it took

A new peer is a file in `sides/` and a line in its list. A new bench is a folder with `bench` (from a study's configuration to a result), `result`
(`as_dict`, `markdown`, `write`) and, where none of the workers will do, a `worker` that ends in `wire.work_off`; its command is a file
`cli/bench_NAME.py` on the flags of `cli/bench_flags.py`.

This file imports none of them: a worker that measures a peer loads what that peer needs.
"""
