"""The process: its allocator, its compiled programs, and the other processes of a run."""
