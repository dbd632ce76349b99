"""One module at a time: the tests of `openai_stream_guard/a/b.py` lie in `a/test_b.py`."""
