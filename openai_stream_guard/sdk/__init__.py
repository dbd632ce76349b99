"""Everything that is private in openai: a new SDK release is followed in this folder, and nowhere else.

    client.request(…)            note the request, and read the policy       patches.py, requests.py
                                 or ask for it in the background              background.py
      _process_response(…)       let the response know both                  patches.py, streams.py
        Stream.__init__(…)       decode and recover its events               decoder.py
        _process_response_data(…)   build an item, or leave it to the SDK    items.py, helper_items.py
        response.iter_bytes()    watch the bytes of who reads these          raw_readers.py

These reach `create`, `.stream()`, and `parse()` of the raw and streaming responses, since all of them make a `Stream`.
A stream whose request did not pass here, built by hand on some response, is left alone.
"""

from .patches import PATCH_POINTS, RESPONSES_HELPERS, is_patched, missing_patch_points, patch, plans_status
from .runtime import RUNTIME
from .streams import KEY, report_from

__all__ = [
    "KEY",
    "PATCH_POINTS",
    "RESPONSES_HELPERS",
    "RUNTIME",
    "is_patched",
    "missing_patch_points",
    "patch",
    "plans_status",
    "report_from",
]
