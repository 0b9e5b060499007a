"""Once a command."""
if __name__ == "__main__":
    raise SystemExit("python -m lib.generate is python -m lib.speak now")
