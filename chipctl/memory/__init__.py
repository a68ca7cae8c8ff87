"""Associative memory: learning rules, digits, recall."""
