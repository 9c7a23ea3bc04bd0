from vqbench.system.processes import forget_working_directory

forget_working_directory()  # before anything else is imported, since a file there may be called like one of Python's

from vqbench.cli.app import main  # noqa: E402

main()
