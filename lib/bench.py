"""Once a command."""
if __name__ == "__main__":
    raise SystemExit("python -m lib.bench is python -m lib.measuring.bench now")
