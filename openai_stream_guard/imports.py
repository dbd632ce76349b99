"""Calls a function after each import of a module, the second one in a process included.

`wrapt` has post-import hooks too, which run once. openai may be removed from `sys.modules` and imported anew, as test
suites do and programs that reload their plugins.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def watch_imports(name: str, on_import: Callable[[ModuleType], None]) -> None:
    """Call a function with this module after each import of it, and at once if it has been imported.

    A watcher that an earlier copy of this package has left is replaced.
    """
    others = [finder for finder in sys.meta_path if getattr(finder, "watched_by_stream_guard", None) != name]
    sys.meta_path[:] = [ImportWatcher(name, on_import), *others]
    module = sys.modules.get(name)
    if module is not None:
        on_import(module)


class ImportWatcher:
    """A finder on `sys.meta_path`: finds a module as the other finders do."""

    def __init__(self, name: str, on_import: Callable[[ModuleType], None]) -> None:
        self.watched_by_stream_guard = name
        self._on_import = on_import

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return what the first of the other finders returns that knows the module."""
        if name != self.watched_by_stream_guard:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if hasattr(spec.loader, "exec_module"):
                    spec.loader = _WatchedLoader(spec.loader, self._on_import)  # type: ignore[assignment] # as one
                return spec
        return None


class _WatchedLoader:
    """Loads as another loader, which takes its place on the module before that is executed."""

    def __init__(self, loader: Any, on_import: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._on_import = on_import

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Create the module as the other loader does."""
        return self._loader.create_module(spec)  # type: ignore[no-any-return] # a module, or None for the default

    def exec_module(self, module: ModuleType) -> None:
        """Execute the module, and call the function."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._on_import(module)
