"""Runs: what was done to which chip, what came of it, and the report a person reads."""
