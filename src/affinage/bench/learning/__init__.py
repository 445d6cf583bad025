"""What adapters have learned after how many steps and seconds: what `bench loss` and `bench sharing` are made of.

    runner          one training before it runs: who trains, on what, how far
    course          one training after another, each measured after every few steps
    ours, sft, side   who trains: `affinage train`, TRL's trainer; each in a process of its own
    judge           the held-out measure, in a third process, whose time counts for nobody
    worker          requests and replies
    curves          what was reached when
    cells           finished trainings on disk, for a bench that goes on
    trainings       what is known of them all, and what pages have in common
    figure          what pictures have in common

This file imports none of them: a process that measures a peer loads what that peer needs.
"""
