"""What the repository says and does itself: its architecture, its README, its workflows."""
