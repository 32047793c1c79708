"""Random uuids without a system call.

`uuid4` asks the system, and so hands the interpreter over to whichever thread is busy, for milliseconds
where that is the exporter's. No secret hangs on these, only that none comes twice.
"""

from __future__ import annotations

import os
from random import Random
from uuid import UUID, SafeUUID

_new = object.__new__
_set_int, _set_is_safe = (vars(UUID)[slot].__set__ for slot in ("int", "is_safe"))
_UNKNOWN = SafeUUID.unknown
_random = Random()  # noqa: S311 - see above; seeded by the system, and not the host's to seed again
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_random.seed)


def uuid_of(number: int) -> UUID:
    """Return the uuid with this number, without what its constructor checks: ten times as fast."""
    made = _new(UUID)
    _set_int(made, number)
    _set_is_safe(made, _UNKNOWN)
    return made


def random_uuid() -> str:
    """Return a new uuid of version 4 as text."""
    return str(UUID(int=_random.getrandbits(128), version=4))
