"""What pytest loads through the entry point, so that `-p no:openai_stream_guard` leaves the plugin out.

The plugin itself is registered under the name of its module, by which `-p` and `pytest_plugins` name it as well.
"""

pytest_plugins = ("openai_stream_guard.pytest_plugin",)
