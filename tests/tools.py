"""Tools that tests need: a missing one skips the test, unless EDGECOMPRESS_REQUIRE names it (comma-separated): then it fails."""

from __future__ import annotations

import os

import pytest


def require_tool(name: str, available: bool) -> None:
    """Skips the running test when the tool `name` (gcc, arm-gcc, qemu, ...) is not available; fails where it is required."""
    if available:
        return
    required = {tool.strip() for tool in os.environ.get("EDGECOMPRESS_REQUIRE", "").split(",")}
    if name in required:
        pytest.fail(f"EDGECOMPRESS_REQUIRE asks for '{name}', which is not installed")
    pytest.skip(f"{name} is not installed")
