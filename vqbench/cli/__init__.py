"""The command line. Whatever is heavy is imported when it is needed."""
