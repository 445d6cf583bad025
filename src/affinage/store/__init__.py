"""A study on disk: names, whole files, claims, scores. The only package that knows where a run's files stand. Imports no torch."""

from affinage.store.claims import STALE_AFTER, Claim, ClaimLostError, claim, claim_owner
from affinage.store.files import canonical_digest, disk_full, read_json, sweep, write_atomically, write_json
from affinage.store.folder import RunFolder, StudyFolder, run_path
from affinage.store.log import append_log, cut_log, read_log
from affinage.store.provenance import Checkout, Provenance, checkout, cores, provenance
from affinage.store.runs import RunState, Status, advance, fail, read_state, reopen
from affinage.store.scores import SCORE_SCHEMA, read_scores, score_frame, write_scores, write_table
from affinage.store.study import (
    PROMPTED,
    QUESTION_SCHEMA,
    UNTOUCHED,
    UNTRAINED,
    PlanRecord,
    RunRecord,
    StudyRecord,
    open_study,
    read_all_scores,
    read_plan,
    read_study,
    write_plan,
)

__all__ = [
    "PROMPTED",
    "QUESTION_SCHEMA",
    "SCORE_SCHEMA",
    "STALE_AFTER",
    "UNTOUCHED",
    "UNTRAINED",
    "Checkout",
    "Claim",
    "ClaimLostError",
    "PlanRecord",
    "Provenance",
    "RunFolder",
    "RunRecord",
    "RunState",
    "Status",
    "StudyFolder",
    "StudyRecord",
    "advance",
    "append_log",
    "canonical_digest",
    "checkout",
    "claim",
    "claim_owner",
    "cores",
    "cut_log",
    "disk_full",
    "fail",
    "open_study",
    "provenance",
    "read_all_scores",
    "read_json",
    "read_log",
    "read_plan",
    "read_scores",
    "read_state",
    "read_study",
    "reopen",
    "run_path",
    "score_frame",
    "sweep",
    "write_atomically",
    "write_json",
    "write_plan",
    "write_scores",
    "write_table",
]
