"""What the guard costs: a command, `python -m tests.benchmark`."""
