"""Running the whole of Truetick on one machine: a supervisor, its children, and nothing left behind."""
