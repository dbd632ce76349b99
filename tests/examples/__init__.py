"""Applications that use the SDK, and their tests, as users would write them."""
