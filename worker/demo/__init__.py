"""The demonstration: an outage, a queue that waits, and the proof that every status is true."""
