"""Measure time and memory of quantizers, and the machine's roofline.

``profile_driver`` carries out the command, ``subjects`` resolves what is measured, and ``profile_tables`` reads and
prints profiles, all without torch. Every row is measured in a fresh process by ``profile_worker``, with
``peak_memory``, ``timing``, ``update_parts``, ``roofline`` and ``method_facts``.
"""
