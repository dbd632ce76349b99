"""Settings: their values, their checks, and the variables that hold them."""
