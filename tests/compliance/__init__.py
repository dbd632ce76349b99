"""Judges from outside: programs and test suites that were not written for this package, and what they say about it."""
