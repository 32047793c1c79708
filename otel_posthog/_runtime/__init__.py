"""Handle forks, the end of the process and threads; count events and limit log lines."""
