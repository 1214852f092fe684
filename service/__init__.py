"""The asrd daemon and its command line, built on the `asr` library."""
