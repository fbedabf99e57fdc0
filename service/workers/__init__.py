"""Processes that do the CPU work of one service process: their pool, a handle on each, and the child itself."""
