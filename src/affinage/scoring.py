"""Which tokens of a question are read, and what the logits there say: the only place that reads logits.

Letters: B questions, C options, S predicted tokens of a pack, M nodes whose logits are read, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from affinage.pack import Branch, Packed
from affinage.records import MCQ, Encoded, ItemScore, Score

__all__ = [
    "answer_branch",
    "answer_losses",
    "branch_logprobs",
    "choice_losses",
    "contrast_loss",
    "item_scores",
    "option_branches",
    "option_scores",
    "unscored",
]


def option_branches(encoded: Encoded, score: Score) -> list[Branch]:
    """The sequences that the score of a question reads: one per option, and for `pmi` one more per option after an empty question.

    The ending is not part of a score: options are compared by their texts alone.
    """
    chosen = [
        Branch(encoded.context_ids + ids[:count], len(encoded.context_ids), question=encoded.question, options=encoded.options)
        for ids, count in zip(encoded.continuation_ids, encoded.scored, strict=True)
    ]
    if score == "pmi":
        if encoded.empty is None:
            raise ValueError("the score `pmi` needs a question that was encoded for it")
        chosen += option_branches(encoded.empty, "total")
    return chosen


def _branch_count(encoded: Encoded, score: Score) -> int:
    """How many sequences `option_branches` gives."""
    return len(encoded.continuation_ids) * (2 if score == "pmi" else 1)


def answer_branch(encoded: Encoded) -> Branch:
    """The sequence of the right answer and its ending, which the loss `answer` reads."""
    right = encoded.continuation_ids[encoded.rendered.mcq.answer]
    return Branch(encoded.context_ids + right, len(encoded.context_ids), question=encoded.question, options=encoded.options)


def token_logprobs(logits: Tensor, packed: Packed) -> Tensor:
    """Log-probability of each predicted token, [S], float32.

    Args:
        logits: [M, V] at `packed.predicting`.
        packed: the pack.
    """
    row = torch.from_numpy(packed.target_row).to(logits.device)
    token = torch.from_numpy(packed.target_id).to(logits.device)
    # index_select, not fancy indexing: its backward pass adds up in a fixed order on a CPU.
    return logits.float().log_softmax(-1).flatten().index_select(0, row * logits.shape[1] + token)


def branch_logprobs(logits: Tensor, packed: Packed, branches: int) -> Tensor:
    """Sum of the log-probabilities of each sequence's predicted tokens, [branches] as handed to `pack`."""
    owner = torch.from_numpy(packed.target_branch).to(logits.device)
    values = token_logprobs(logits, packed)
    return torch.zeros(branches, device=values.device).index_add(0, owner, values)


def option_scores(encoded: Encoded, sums: Tensor, score: Score) -> Tensor:
    """The score of each option of a question, [C], from the sums over its branches (`option_branches`), [C] or for `pmi` [2C]."""
    count = len(encoded.continuation_ids)
    if score == "pmi":
        return sums[:count] - sums[count:]
    if score == "per-token":
        return sums / torch.tensor(encoded.scored, device=sums.device)
    if score == "per-character":
        return sums / torch.tensor([len(answer) for answer in encoded.rendered.answers], device=sums.device)
    return sums


def choice_losses(batch: Sequence[Encoded], sums: Tensor, score: Score) -> Tensor:
    """Minus the log-softmax of the right option's score over the question's options, per question; [B].

    It trains the very score that evaluation compares.

    Args:
        batch: B questions.
        sums: sums of log-probabilities of their `option_branches`, one after the other.
        score: how options are compared.
    """
    own = torch.split(sums, [_branch_count(encoded, score) for encoded in batch])
    losses = [-option_scores(encoded, each, score).log_softmax(0)[encoded.rendered.mcq.answer] for encoded, each in zip(batch, own, strict=True)]
    return torch.stack(losses)


def answer_losses(sums: Tensor) -> Tensor:
    """Minus the log-probability of the right answer and its ending, summed over tokens, per question; [B].

    L = - sum_t log p(y_t | question, y_<t) (Le Bellier 2026).

    Args:
        sums: [B] sums of log-probabilities of the questions' `answer_branch`.
    """
    return -sums


def contrast_loss(sums: Tensor) -> Tensor:
    """Minus the log-probability that an answer is read under its own adapter, all adapters being equally probable beforehand; [].

    Args:
        sums: [1 + others] log-probability of one answer under its own adapter, then under each other.
    """
    return -sums.log_softmax(0)[0]


def item_scores(batch: Sequence[Encoded], logits: Tensor, packed: Packed, score: Score, *, letters: bool) -> list[ItemScore]:
    """What the model said about each question of a pack.

    Args:
        batch: B questions, whose `option_branches` are the pack in this order.
        logits: [M, V] at `packed.predicting`.
        packed: the pack.
        score: how options are scored.
        letters: whether the answers are letters; only then letter mass and the free reading have a meaning.
    """
    counts = [_branch_count(encoded, score) for encoded in batch]
    sums = torch.split(branch_logprobs(logits, packed, sum(counts)), counts)
    # All options of a question begin at the same node, the context's last: its row is that of the first branch's first token.
    first_target = {branch: target for target, branch in reversed(list(enumerate(packed.target_branch.tolist())))}
    starts = [sum(counts[:i]) for i in range(len(counts))]
    rows = torch.from_numpy(packed.target_row[[first_target[start] for start in starts]]).to(logits.device)
    logprobs = logits.index_select(0, rows).float().log_softmax(-1)
    best, token = logprobs.max(-1)
    results = []
    for i, encoded in enumerate(batch):
        mcq, rendered = encoded.rendered.mcq, encoded.rendered
        values = sums[i].tolist()
        options = len(mcq.options)
        finite = all(math.isfinite(value) for value in values)
        firsts = [ids[0] for ids in encoded.continuation_ids]
        results.append(
            ItemScore(
                mcq_id=mcq.mcq_id,
                template_id=mcq.template_id,
                culture=mcq.culture,
                answer=mcq.answer,
                order=rendered.order,
                logprob=tuple(values[:options]) if finite else (),
                tokens=encoded.scored if finite else (),
                characters=tuple(len(answer) for answer in rendered.answers) if finite else (),
                empty_logprob=tuple(values[options:]) if finite else (),
                letter_mass=float(logprobs[i, firsts].exp().sum()) if letters and finite else None,
                greedy_token=int(token[i]),
                greedy_probability=float(best[i].exp()),
                free=int(token[i]) == firsts[mcq.answer] if letters and finite else None,
                state="scored" if finite else "the model's log-probabilities are not finite",
            )
        )
    return results


def unscored(mcq: MCQ, reason: str) -> ItemScore:
    """The state of a question that could not be put to the model."""
    return ItemScore(mcq.mcq_id, mcq.template_id, mcq.culture, mcq.answer, tuple(range(len(mcq.options))), (), (), (), state=reason)
