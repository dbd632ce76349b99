"""What tests share: how they break streams, read them, and start what they run against."""
