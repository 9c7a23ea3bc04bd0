"""How processes that train ask the system for memory."""

# torch's switch for pages of 2 MiB under large tensors, which it reads when it makes its first one. On Linux with a
# processor, each step otherwise pays for every 4 KiB of its activations anew: about a seventh of its time. No number
# depends on it.
LARGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}
