"""Ranks, processes, threads, interrupts, and progress that is shown meanwhile."""
