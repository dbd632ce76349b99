"""Decides what becomes of one logical stream: no I/O, no clock, no SDK."""
