"""Seconds to the same held-out loss: TRL's trainer as it comes, with the reference study's settings, against a training here with our defaults.

    race             the whole: both sides' trainings, seed by seed, measured at the same held-out questions
    course           one training, measured after every few steps; `affinage bench sharing` is made of these too
    ours, sft, side  the two sides, each in a process of its own
    judge            the held-out measure, in a third process, whose time counts for nobody
    worker           requests and replies
    curves           what was reached when, the targets, the ratios
    page, figure     JSON, Markdown, curves

This file imports none of them: a process that measures a peer loads what that peer needs.
"""
