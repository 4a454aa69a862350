"""Options of the command line, and how a script runs; nothing below this room knows argparse."""
