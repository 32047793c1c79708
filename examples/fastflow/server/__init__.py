"""The server of the example product."""
