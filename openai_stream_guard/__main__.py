"""`python -m openai_stream_guard`."""

import sys

if __name__ == "__main__":
    try:
        from .cli import main
    except KeyboardInterrupt:  # in the middle of the imports
        sys.exit(130)
    sys.exit(main())
