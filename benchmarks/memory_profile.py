"""Which packages a process loads, and what their modules allocate."""

import importlib
import sys
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from importlib.machinery import ExtensionFileLoader, SourceFileLoader
from types import ModuleType
from typing import Any

import psutil

LINES = 45


class ImportProfile:
    """Loads a module as a process does, with Django set up, and counts what each one allocates.

    What C libraries take for themselves is not seen, and stands in the growth of the process.

    Args:
        module: what the process begins with.
    """

    def __init__(self, *, module: str) -> None:
        process = psutil.Process()
        before = process.memory_full_info().uss
        self._allocated: Counter[str] = Counter()
        # What the modules that are being loaded right now have loaded in turn, the outermost first.
        self._within: list[int] = []
        tracemalloc.start()
        for loader in (SourceFileLoader, ExtensionFileLoader):
            self._watch(loader)
        importlib.import_module(module)
        import django
        from django.conf import settings

        django.setup()
        if module.endswith("asgi"):
            # As the first request does.
            importlib.import_module(settings.ROOT_URLCONF)
        tracemalloc.stop()
        self._grown = process.memory_full_info().uss - before

    def table(self) -> str:
        """Return the packages, those first that allocate most."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        modules = Counter(name.partition(".")[0] for name in sys.modules)
        total_mb, grown_mb = self._allocated.total() / 1e6, self._grown / 1e6
        yield f"{total_mb:.1f} MB by modules; the process grew by {grown_mb:.1f} MB"
        yield "of its own, what the counting takes included\n"
        yield f"{'package':<40}{'MB':>8}{'modules':>9}"
        for package, size in self._allocated.most_common(LINES):
            yield f"{package:<40}{size / 1e6:>8.2f}{modules[package]:>9}"

    def _watch(self, loader: type[Any]) -> None:
        plain = loader.exec_module

        def exec_module(this: Any, module: ModuleType) -> None:
            before, _ = tracemalloc.get_traced_memory()
            self._within.append(0)
            try:
                plain(this, module)
            finally:
                grown = tracemalloc.get_traced_memory()[0] - before
                self._allocated[module.__name__.partition(".")[0]] += grown - self._within.pop()
                if self._within:
                    self._within[-1] += grown

        loader.exec_module = exec_module
