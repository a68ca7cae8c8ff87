"""Procedures that measure a chip; they reach it as any program does, through `chipctl.chip`."""
