"""Reads, waits, closes and sends again, over the HTTP libraries that the SDK uses."""
