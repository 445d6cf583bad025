"""The command line: the only package that prints, parses flags and sets exit codes. Start with `affinage --help`."""

from affinage.cli.root import app, main

__all__ = ["app", "main"]
