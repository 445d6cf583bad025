"""Training: batches in a seeded order, AdamW, a log line per step, checkpoints, several adapters in lockstep, and a way back after any crash."""

from affinage.train.contexts import Contexts, Way, context_packs, laid_apart, reading
from affinage.train.lockstep import Cut, Member, train, train_cohort
from affinage.train.loss import Batch, Reads, cohort_losses, read, step_nodes, step_packs
from affinage.train.order import batches, template_weights
from affinage.train.schedule import StepRecord, rate_at, total_steps

__all__ = [
    "Batch",
    "Contexts",
    "Cut",
    "Member",
    "Reads",
    "StepRecord",
    "Way",
    "batches",
    "cohort_losses",
    "context_packs",
    "laid_apart",
    "rate_at",
    "read",
    "reading",
    "step_nodes",
    "step_packs",
    "template_weights",
    "total_steps",
    "train",
    "train_cohort",
]
