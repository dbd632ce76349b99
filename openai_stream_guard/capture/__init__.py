"""`.ssecap` files: what was read of an attempt, with its times, written and run again."""
