"""Frameworks under broken streams, unguarded and guarded: `python -m tests.compatibility.frameworks`."""
