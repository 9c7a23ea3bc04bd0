from vqbench.cli import main

main()
