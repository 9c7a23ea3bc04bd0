"""Files, processes, the terminal and the machine. Without torch."""
