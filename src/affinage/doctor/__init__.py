"""What is wrong, and what to do: with this machine and its libraries, or with one adapter."""

from affinage.doctor.adapter import files, living
from affinage.doctor.base import Check, State, tried
from affinage.doctor.environment import machine, tiny_model, versions

__all__ = ["Check", "State", "files", "living", "machine", "tiny_model", "tried", "versions"]
