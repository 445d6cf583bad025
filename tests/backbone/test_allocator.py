"""Freed memory is kept: taking it again costs no page faults."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

CHURN = """
import resource, sys
import torch
from affinage.backbone.allocator import keep_freed_memory
said = keep_freed_memory() if sys.argv[1] == "kept" else ""
def churn():
    held = [torch.ones(5_000_000) for _ in range(4)]  # 20 MB each
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, keep_freed_memory() == said, said)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_freed_memory_is_not_taken_anew() -> None:
    def faults(how: str) -> tuple[int, list[str]]:
        done = subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True)
        count, *rest = done.stdout.split(maxsplit=2)
        return int(count), rest

    kept, (again, said) = faults("kept")
    given_back, _ = faults("not")
    assert given_back > 10_000  # 80 MB in pages of 4 KB, five times; else the test shows nothing
    assert kept < given_back / 20
    assert again == "True"
    assert said.startswith("freed memory kept")
