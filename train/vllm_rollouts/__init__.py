"""Rollouts by vLLM: which settings it can serve, TRL's backend for it, and weights to a server without a GPU."""
