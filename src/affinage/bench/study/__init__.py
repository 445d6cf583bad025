"""A study's bench: many adapters in cohorts over one model, against a process of a peer for each.

    bench            the whole: equality, the peer's fastest set-up, rounds, memory
    work             the adapters' trainings, in files that both sides read
    ours, peft_lesson, worker   the two sides, each in processes of its own
    memory           what another adapter in a cohort takes
    result           JSON and Markdown

This file imports none of them: a process that measures a peer loads what that peer needs.
"""
