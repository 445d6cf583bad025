"""Affinage teaches a frozen language model a culture with a few hundred kilobytes, and tests whether it learned the culture or the test."""

__version__ = "0.1.0"
