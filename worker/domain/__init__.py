"""The pure rules of Truetick: no I/O, no clock of its own, no framework."""
