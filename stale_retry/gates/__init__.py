"""Gates, where the contenders of one session queue with their appends: within a process, and between processes."""
