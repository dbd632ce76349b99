"""Frameworks on top of the SDK under broken streams, unguarded and guarded: `python -m tests.frameworks`."""
