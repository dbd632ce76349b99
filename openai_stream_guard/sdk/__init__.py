"""Every private name of openai, and the patch points: a new SDK release is followed in this folder or nowhere.

    client.request(…)                       learn the request, and read the policy    patches.py, requests.py
      _process_response(…)                  bind both to the response
        stream._iter_events()               decode and recover                        streams.py
        client._process_response_data(…)    build an item by a plan, or leave it      items.py, known_functions.py

They reach `create`, `.stream()`, and `parse()` of the raw and streaming responses, since all of them end in
`_iter_events`. A stream whose request was not seen, built by hand on some response, is left alone.
"""

from .patches import PATCH_POINTS, RESPONSES_HELPERS, is_patched, missing_patch_points, patch, plans_status
from .streams import HOSTS, KEY, report_from

__all__ = [
    "HOSTS",
    "KEY",
    "PATCH_POINTS",
    "RESPONSES_HELPERS",
    "is_patched",
    "missing_patch_points",
    "patch",
    "plans_status",
    "report_from",
]
