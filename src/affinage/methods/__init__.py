"""Methods of adaptation: one file each, found by looking into this folder."""

from importlib import import_module
from pkgutil import iter_modules

from affinage.methods.base import Adapter, Contrast, Key, Method, Peft, ResolvedMethod, Settings, registry, resolve

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Adapter", "Contrast", "Key", "Method", "Peft", "ResolvedMethod", "Settings", "registry", "resolve"]
