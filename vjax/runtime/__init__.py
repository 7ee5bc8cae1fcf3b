"""Setup of a process: the memory allocator, the compilation cache, and the other processes of a run."""
