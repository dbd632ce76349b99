"""What each API calls text, progress, end and error, and what a second answer may add."""
