"""From bytes to payloads: framing is moved, text is never invented."""
