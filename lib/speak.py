"""Speak a sentence with a trained core: python -m lib.speak "Dzień dobry." --core mamba_conv"""
import argparse
import sys
from pathlib import Path

from .data.audio import SAMPLE_RATE, flac
from .files import write_atomic
from .speaking.sampling import Sampling
from .speaking.speaker import REFERENCE, read_checkpoint


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lib.speak", description="Speak a sentence with a trained core.")
    parser.add_argument("text")
    parser.add_argument("--core", default="transformer")
    parser.add_argument("--checkpoints", type=Path, default=REFERENCE, help="folder of <core>.safetensors")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("speech.flac"))
    given = parser.parse_args()
    try:
        speaker = read_checkpoint(given.checkpoints / f"{given.core}.safetensors")
        audio = speaker.say(given.text, Sampling(given.temperature, seed=given.seed))
        write_atomic(given.out.resolve(), flac(audio))
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{given.out}: {len(audio) / SAMPLE_RATE:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
