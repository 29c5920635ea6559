"""Packages of the optional extra `data`: imported where they are needed, named where they are absent."""

from importlib import import_module
from typing import Any, Literal


def extra(
    package: Literal["pyarrow", "pyarrow.ipc", "pyarrow.parquet", "datasets", "pyrage"], needs: str
) -> Any:
    """Return a package that need not be installed.

    Args:
        package: Its name.
        needs: What it is needed for, to begin the error with, e.g. "a Parquet file".

    Raises:
        LookupError: It is not installed or cannot be imported; says what to install.
    """
    try:
        return import_module(package)
    except ImportError as error:
        told = f"{needs} needs the package {package.partition('.')[0]}, which cannot be imported ({error})"
        raise LookupError(f"{told}; install it with: pip install 'misdirection[data]'") from error
