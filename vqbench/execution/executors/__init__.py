"""Where runs are carried out: in processes of this machine, or in the very process that asks."""
