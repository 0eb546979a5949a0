"""The command line: thin commands over the stories below. `worker/cli/app.py` puts them together."""
