"""From a suite file to runs: what is asked for, what each run is called, and what it will cost. Without torch."""
