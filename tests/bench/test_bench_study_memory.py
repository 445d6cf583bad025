"""Peaks of memory: of this process alone and from a moment on, and of what torch allocates."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from affinage.bench.memory import Allocations, forget_peaks, peak_memory

BYTES = 400_000_000

can_forget = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system cannot forget a peak")


@can_forget
def test_a_peak_is_kept_until_it_is_forgotten() -> None:
    forget_peaks("cpu", resident=True)
    before = peak_memory("cpu")
    assert before["device"] is None
    held = mmap.mmap(-1, BYTES)  # given back when it is closed, whatever the C library keeps (`backbone.allocator`)
    np.frombuffer(held, np.uint8)[:] = 1
    with_it = peak_memory("cpu")["resident"]
    assert with_it - before["resident"] > 0.9 * BYTES
    held.close()
    forget_peaks("cpu", resident=False)
    assert peak_memory("cpu")["resident"] == pytest.approx(with_it, rel=0.01)
    forget_peaks("cpu", resident=True)
    assert with_it - peak_memory("cpu")["resident"] > 0.9 * BYTES


def test_allocations_count_what_is_held_at_once() -> None:
    held_before = torch.zeros(1_000_000)
    counting = Allocations()
    first = torch.zeros(500_000)
    del first
    second, third = torch.zeros(300_000), torch.zeros(400_000)
    del second, third, held_before
    fourth = torch.zeros(600_000)
    assert counting.peak() == 4 * 700_000
    assert len(fourth) == 600_000
