"""Send one heartbeat per installation and day, from observable gauges (requirement R20)."""

from __future__ import annotations

from .gauges import BUCKETS, bucket
from .heartbeat import Heartbeat
from .rounds import Result, RoundParts

__all__ = ["BUCKETS", "Heartbeat", "Result", "RoundParts", "bucket"]
