"""Bytes become payloads. Framing is moved where it is broken; the text of a payload is never changed."""
