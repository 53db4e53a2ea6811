"""Branchline: every git branch gets a live URL, and loses it without a trace when the branch is deleted."""

__version__ = "0.1.0"
