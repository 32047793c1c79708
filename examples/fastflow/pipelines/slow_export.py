"""A run that takes a while, and says how far it is."""

import time

STEPS = 20

for step in range(1, STEPS + 1):
    time.sleep(0.5)
    print(f"Exported part {step} of {STEPS}")
    print(f"progress {100 * step // STEPS}")
