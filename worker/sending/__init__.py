"""The moving parts of a drain run: its channels (lanes) and the threads that POST (senders)."""
