"""The flags that scripts of this folder share: which model, on what, with which questions, and where the results go."""

from __future__ import annotations

import argparse

__all__ = ["shared"]


def shared(description: str | None, *, name: str) -> argparse.ArgumentParser:
    """A parser of the shared flags, to which a script adds its own.

    Args:
        description: the script's docstring, shown as it is written.
        name: of the results, where none is given.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--source", default="starter")
    parser.add_argument("--path")
    parser.add_argument("--culture")
    parser.add_argument("--out", default="bench/results")
    parser.add_argument("--name", default=name)
    return parser
