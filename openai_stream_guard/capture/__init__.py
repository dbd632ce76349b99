"""Recordings of streams that broke: what was read and when, as `.ssecap` files that can be run again."""
