"""Once a command."""
if __name__ == "__main__":
    raise SystemExit("python -m lib.speech_study is python -m lib.study now")
