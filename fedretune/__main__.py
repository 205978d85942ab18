"""``python -m fedretune``: the command line."""

from fedretune.cli.main import main

main()
