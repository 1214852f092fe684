"""The subcommands of `asrd`: each module has `add_parser(subparsers)` and `run(args)`.

They are imported to build the help text, so they import what is heavy inside `run`.
"""
