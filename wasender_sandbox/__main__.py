"""`python -m wasender_sandbox`: the command line of the sandbox."""

from wasender_sandbox.cli import app

if __name__ == "__main__":
    app()
