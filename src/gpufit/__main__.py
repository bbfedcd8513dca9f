"""``python -m gpufit``."""

from gpufit.cli.main import script

if __name__ == "__main__":
    script()
