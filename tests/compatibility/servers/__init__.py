"""Real servers, with what they serve."""
