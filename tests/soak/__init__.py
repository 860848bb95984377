"""Long runs of a whole exchange: its memory, disk, lag and latency over time."""
