"""Fails, so that one can see how a failed run looks."""

import sys

print("Checking yesterday's numbers …")
sys.exit("Row count differs: expected 1200, found 1187.")
