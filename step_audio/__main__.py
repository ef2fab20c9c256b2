"""python -m step_audio"""

import sys

from step_audio.cli import main

if __name__ == "__main__":
    sys.exit(main())
