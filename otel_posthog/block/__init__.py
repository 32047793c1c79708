"""The `posthog:` block of an OpenTelemetry configuration file, and what is wrong with one."""

from .block import Block, read_block
from .problems import BlockError, Problem
from .schema import block_schema

__all__ = ["Block", "BlockError", "Problem", "block_schema", "read_block"]
