"""What both metrics observers count, so that they cannot come apart."""

from __future__ import annotations

RETRIES = "Retries scheduled after a stale append."
OUTCOMES = "Appends that were stale, by how they ended."
ATTEMPTS = "Attempts of an append that was stale, the first included."
DURATION = "Seconds from the entry of an append that was stale to its outcome."

# Two attempts are the fewest that recover; the default policy makes about a hundred within its deadline of 90 s.
ATTEMPT_BUCKETS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50, 100)
SECOND_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 90.0)
