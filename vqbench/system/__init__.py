"""Files, processes, the terminal and the machine: what the operating system gives. Without torch."""
