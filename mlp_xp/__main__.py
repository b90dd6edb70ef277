"""`python -m mlp_xp COMMAND`, the same as `mlp-xp COMMAND`."""

from mlp_xp.commands import main

if __name__ == "__main__":
    main()
