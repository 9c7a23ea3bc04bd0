"""Updates as CUDA graphs: one launch for all operations of an update."""
