"""Random uuids without a system call.

`uuid4` asks the system, and so hands the interpreter over to whichever thread is busy, for milliseconds
where that is the exporter's. No secret hangs on these, only that none comes twice.
"""

from __future__ import annotations

import os
from random import Random
from uuid import UUID, SafeUUID

_random = Random()  # noqa: S311 - see above; seeded by the system, and not the host's to seed again
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def uuid_of(number: int) -> UUID:
    """Return the uuid with this number, without what its constructor checks: four times as fast."""
    made = object.__new__(UUID)
    object.__setattr__(made, "int", number)
    object.__setattr__(made, "is_safe", SafeUUID.unknown)
    return made


def random_uuid() -> str:
    """Return a new uuid of version 4 as text."""
    return str(UUID(int=_random.getrandbits(128), version=4))
