"""The command line: shared arguments, engines, options, the doctor."""
